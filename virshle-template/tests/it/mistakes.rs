use virshle_template::TemplateError;

use crate::whole::{SEED, parse};

/// The mistakes of a template, as a terminal shows them.
fn told(text: &str) -> String {
    match parse(text) {
        Ok(config) => {
            let told: Vec<String> = config.mistakes().iter().map(ToString::to_string).collect();
            told.join("\n\n")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn all_mistakes_come_at_once_with_their_places() {
    let text = "\
[[template.vm]]
name = \"xs\"
vcpus = 1
vram = \"2 Gigs\"
[[template.vm.disk]]
name = \"os\"
clone = \"reflnk\"
path = \"a.img\"
[[template.vm.net]]
name = \"main\"
vlan = 4095
[template.vm.net.type.vhots]
";
    assert_eq!(
        told(text),
        "\
missing key \"vcpu\" in [template.vm]
  --> /etc/virshle/config.toml:1:1
  |
1 | [[template.vm]]
  | ^^^^^^^^^^^^^^^ add for example vcpu = 2

unknown key \"vcpus\" in [template.vm]
  --> /etc/virshle/config.toml:3:1
  |
3 | vcpus = 1
  | ^^^^^ did you mean \"vcpu\"?

\"Gigs\" is not a unit of size
  --> /etc/virshle/config.toml:4:8
  |
4 | vram = \"2 Gigs\"
  |        ^^^^^^^^ expected a number of GiB, or a number with K, M, G or T (binary, also KiB …) or KB, MB, GB or TB (decimal)

unknown clone \"reflnk\"
  --> /etc/virshle/config.toml:7:9
  |
7 | clone = \"reflnk\"
  |         ^^^^^^^^ did you mean \"reflink\"?

\"vlan\" is out of range
  --> /etc/virshle/config.toml:11:8
   |
11 | vlan = 4095
   |        ^^^^ a whole number from 1 to 4094

unknown type \"vhots\"
  --> /etc/virshle/config.toml:12:23
   |
12 | [template.vm.net.type.vhots]
   |                       ^^^^^ did you mean \"vhost\"?"
    );
}

#[test]
fn a_wrong_template_does_not_keep_the_others_from_working() {
    let text = format!("{SEED}\n[[template.vm]]\nname = \"bad\"\nvcpu = 0\nvram = 1\n");
    let config = parse(&text).unwrap();
    assert!(config.template("xs").is_ok());
    let error = config.template("bad").unwrap_err();
    assert!(matches!(error, TemplateError::Mistakes { .. }), "{error:?}");
    assert_eq!(config.mistakes().len(), 1);
    assert_eq!(config.mistakes()[0].template.as_deref(), Some("bad"));
}

#[test]
fn a_mistake_outside_the_templates_fails_the_whole_file() {
    let error = parse("[node]\nallias = \"x\"\n[network]\ndatapath = \"dpdk\"\n").unwrap_err();
    assert_eq!(error.mistakes().len(), 2, "{error}");
    assert!(error.to_string().contains("did you mean \"alias\"?"), "{error}");
    assert!(parse("[[template.vms]]\n").is_err());
    assert!(parse("[[template.vm]\n").unwrap_err().to_string().contains(":1:"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let base = "[[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = 1\n";
    for (line, words) in [
        ("firmware = \"a\"\nkernel = \"b\"", "not both"),
        ("cmdline = \"quiet\"", "for a kernel"),
        ("[[template.vm.disk]]\nname = \"a\"", "neither an image nor a size"),
        ("[[template.vm.disk]]\nname = \"a\"\nsize = \"1G\"\nclone = \"copy\"", "no clone"),
        ("[[template.vm.disk]]\nname = \"a\"\npath = \"b\"\nimage = \"c\"", "not from both"),
        ("[[template.vm.disk]]\nname = \"a\"\nsize = \"1000\"", "sectors"),
        ("disk = [{name = \"a\", size = \"1G\"}, {name = \"a\", size = \"1G\"}]", "second disk"),
        ("net = [{name = \"a\", type = \"tap\"}, {name = \"a\", type = \"tap\"}]", "second net"),
        ("net = [{name = \"a\"}]", "missing key \"type\""),
        ("net = [{name = \"a\", type = {}}]", "no type"),
        ("net = [{name = \"a\", type = {tap = {}, vhost = {}}}]", "second type"),
        ("net = [{name = \"a\", type = {tap = {vlan = 1}}}]", "in the type"),
        ("net = [{name = \"a\", type = \"tap\", mac = \"01:00:00:00:00:00\"}]", "multicast"),
        ("net = [{name = \"a\", type = \"tap\", mac = \"52:54\"}]", "not a MAC"),
        ("net = [{name = \"a\", type = \"tap\", mtu = 1000}]", "out of range"),
        ("net = [{name = \"a\", type = \"tap\", link = \"eth0\"}]", "only a macvtap"),
        ("net = [{name = \"a\", type = \"tap\", address = \"192.0.2.1\"}]", "length of its prefix"),
        ("net = [{name = \"a/b\", type = \"tap\"}]", "cannot be a name"),
        ("disk = 3", "wrong type"),
        ("autostart = \"yes\"", "true or false"),
        ("user_data = \"~other/x\"", "not a path"),
    ] {
        let told = told(&format!("{base}{line}\n"));
        assert!(told.contains(words), "{line}: {told}");
    }
    for (text, words) in [
        ("vcpu = {boot = 4, max = 2}\nvram = 1", "fewer than at boot"),
        ("vcpu = 1\nvram = {size = \"2G\", max = \"1G\"}", "less than at boot"),
        ("vcpu = 1\nvram = 0", "out of range"),
        ("vcpu = 1\nvram = \"1M\"", "at least 16 MiB"),
        ("vcpu = 1.5\nvram = 1", "wrong type"),
        ("vcpu = 1\nvram = 1.5", "wrong type"),
        ("vcpu = -1\nvram = 1", "out of range"),
        ("vram = 1", "missing key \"vcpu\""),
        ("vcpu = 1", "missing key \"vram\""),
    ] {
        let told = told(&format!("[[template.vm]]\nname = \"xs\"\n{text}\n"));
        assert!(told.contains(words), "{text}: {told}");
    }
    assert!(told(&format!("{base}{base}")).contains("second template"));
}
