use virshle_template::{Config, TemplateError};

use crate::config::{SEED, WHOLE, parse};

/// The mistakes of the templates, as a terminal shows them.
fn report(config: &Config) -> String {
    let mistakes: Vec<String> = config.mistakes().iter().map(ToString::to_string).collect();
    mistakes.join("\n\n")
}

/// What is said of each mistake, wherever it is.
fn messages(text: &str) -> Vec<String> {
    let of = |mistakes: &[virshle_template::Mistake]| {
        mistakes.iter().map(|mistake| format!("{}: {}", mistake.line, mistake.message)).collect()
    };
    match parse(text) {
        Ok(config) => of(config.mistakes()),
        Err(error) => of(error.mistakes()),
    }
}

const WRONG: &str = r#"[[template.vm]]
name = "xs"
vcpus = 1
vram = "2 Gigs"
firmware = "/f"
kernel = "/k"

[[template.vm.disk]]
name = "os"
clone = "reflnk"
path = "~root/a.img"

[[template.vm.disk]]
name = "os"

[[template.vm.net]]
name = "main/1"
vlan = 4095
[template.vm.net.type.vhots]
"#;

#[test]
fn all_mistakes_come_at_once_with_their_places() {
    assert_eq!(
        report(&parse(WRONG).unwrap()),
        r#"unknown key "vcpus", did you mean "vcpu"?
 --> /etc/virshle/config.toml:3:1
  |
3 | vcpus = 1
  | ^^^^^
  = expected one of name, vcpu, vram, firmware, kernel, initramfs, cmdline, autostart, order, delay, restart, watchdog, limits, nested, disk, net, user_data

"Gigs" is not a unit of size
 --> /etc/virshle/config.toml:4:8
  |
4 | vram = "2 Gigs"
  |        ^^^^^^^^
  = expected a number of GiB, or a text such as "512MiB": K M G T P (also KiB …) are binary, KB MB GB TB PB decimal

a machine boots a firmware or a kernel, not both
 --> /etc/virshle/config.toml:5:1
  |
5 | firmware = "/f"
  | ^^^^^^^^
  = leave firmware or kernel away

unknown clone "reflnk", did you mean "reflink"?
  --> /etc/virshle/config.toml:10:9
   |
10 | clone = "reflnk"
   |         ^^^^^^^^
   = expected one of auto, reflink, copy, overlay

"~root/a.img" is no path: the home of another user is not looked up, write it out
  --> /etc/virshle/config.toml:11:8
   |
11 | path = "~root/a.img"
   |        ^^^^^^^^^^^^^

a disk without a path and without a size
  --> /etc/virshle/config.toml:13:1
   |
13 | [[template.vm.disk]]
   | ^^^^^^^^^^^^^^^^^^^^
   = add path = "…" for a copy, or size = "20G" for a new, empty disk

a second disk with the name "os"
  --> /etc/virshle/config.toml:14:8
   |
14 | name = "os"
   |        ^^^^
   = line 9 has the first one

"main/1" cannot be a name: it has '/'
  --> /etc/virshle/config.toml:17:8
   |
17 | name = "main/1"
   |        ^^^^^^^^
   = expected a letter or digit, then letters, digits, '-', '_' and '.'

"vlan" is out of range
  --> /etc/virshle/config.toml:18:8
   |
18 | vlan = 4095
   |        ^^^^
   = expected a whole number from 1 to 4094

unknown type "vhots", did you mean "vhost"?
  --> /etc/virshle/config.toml:19:23
   |
19 | [template.vm.net.type.vhots]
   |                       ^^^^^
   = expected one of user, vhost, tap, bridge, macvtap"#
    );
}

#[test]
fn an_error_has_a_headline_and_then_each_mistake() {
    let text = "[[template.vm]]\nname = \"xs\"\nvcpu = 0\n";
    let error = parse(text).unwrap().template("xs").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"template "xs" has 2 mistakes in /etc/virshle/config.toml

[template.vm] has no "vram"
 --> /etc/virshle/config.toml:1:1
  |
1 | [[template.vm]]
  | ^^^^^^^^^^^^^^^
  = add vram = 2 for 2 GiB, or vram = "512MiB"

"vcpu" is out of range
 --> /etc/virshle/config.toml:3:8
  |
3 | vcpu = 0
  |        ^
  = expected a whole number from 1 to 8192"#
            .replace("8192", if cfg!(target_arch = "x86_64") { "8192" } else { "255" })
    );
    assert_eq!(error.hint().unwrap(), "the rest of the file was not checked: check all of it");
    let error = parse("[node]\nallias = \"x\"\n").unwrap_err();
    assert_eq!(error.hint(), None);
    assert_eq!(
        error.to_string(),
        r#"the configuration /etc/virshle/config.toml has a mistake

unknown key "allias", did you mean "alias"?
 --> /etc/virshle/config.toml:2:1
  |
2 | allias = "x"
  | ^^^^^^
  = expected one of alias, root, shutdown_timeout, overcommit_memory, systemd"#
    );
}

#[test]
fn an_invalid_template_does_not_keep_the_others_from_working() {
    let text = format!("{WRONG}\n{SEED}\n[[template.vm]]\nname = \"bad\"\nvcpu = 0\nvram = 1\n")
        .replacen("name = \"xs\"", "name = \"first\"", 1);
    let config = parse(&text).unwrap();
    assert!(config.template("xs").is_ok());
    assert_eq!(config.templates().count(), 1);
    let error = config.template("bad").unwrap_err();
    assert_eq!(error.mistakes().len(), 1, "{error}");
    assert_eq!(error.mistakes()[0].template.as_deref(), Some("bad"));
    assert_eq!(config.template("first").unwrap_err().mistakes().len(), 10);
    assert_eq!(config.mistakes().len(), 11);
    // A template that is wrong is known all the same.
    let error = config.template("fist").unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean \"first\"? the templates are first, xs, bad");
}

#[test]
fn of_two_templates_with_one_name_neither_is_taken() {
    let config = parse(&format!("{SEED}{SEED}")).unwrap();
    let error = config.template("xs").unwrap_err();
    assert_eq!(error.mistakes()[0].message, "a second template with the name \"xs\"");
    assert_eq!(error.mistakes()[0].help.as_deref(), Some("line 2 has the first one"));
    assert_eq!(config.templates().count(), 0);
}

#[test]
fn a_template_without_a_name_is_reported_with_the_others() {
    let config = parse(&format!("[[template.vm]]\nvcpu = 1\nvram = 1\n{SEED}")).unwrap();
    assert_eq!(config.mistakes().len(), 1);
    assert_eq!(config.mistakes()[0].template, None);
    assert_eq!(config.templates().count(), 1);
    assert!(matches!(config.template("").unwrap_err(), TemplateError::NotFound { .. }));
}

#[test]
fn a_mistake_outside_the_templates_fails_the_whole_file_with_all_of_them() {
    let text = format!("[node]\nallias = \"x\"\n[network]\ndatapath = \"dpdk\"\n{WRONG}");
    let error = parse(&text).unwrap_err();
    assert_eq!(error.mistakes().len(), 12, "{error}");
    assert!(error.to_string().starts_with("the configuration /etc/virshle/config.toml has 12 "));
    for (text, message) in [
        ("[[template.vms]]\n", "1: unknown key \"vms\", did you mean \"vm\"?"),
        ("[templates]\n", "1: unknown key \"templates\", did you mean \"template\"?"),
        ("[template.vm]\nname = 'xs'\n", "1: \"vm\" is a table"),
        ("template = 3\n", "1: \"template\" is a whole number"),
        ("[[node]]\n", "1: \"node\" is a list"),
        ("node = 'deku'\n", "1: \"node\" is a text"),
        ("[network]\nuplink = 'br0'\n", "2: \"br0\" cannot be linked to itself"),
        (
            "[hypervisor]\nprogramm = 'ch'\n",
            "2: unknown key \"programm\", did you mean \"program\"?",
        ),
        (
            "[node]\nroot = '~a'\n",
            "2: \"~a\" is no path: the home of another user is not looked up, write it out",
        ),
    ] {
        assert_eq!(messages(text), [message], "{text}");
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_not_toml_is_reported_with_the_other_mistakes() {
    let text = "\
[[template.vm]]
name = xs
vcpus = 1
vram = 2G
autostart = True
[[template.vm.disk]]
name = 'os'
size = '50X'
";
    let error = parse(text).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the configuration /etc/virshle/config.toml has 5 mistakes

string values must be quoted
 --> /etc/virshle/config.toml:2:8
  |
2 | name = xs
  |        ^^
  = write "xs"

unknown key "vcpus", did you mean "vcpu"?
 --> /etc/virshle/config.toml:3:1
  |
3 | vcpus = 1
  | ^^^^^
  = expected one of name, vcpu, vram, firmware, kernel, initramfs, cmdline, autostart, order, delay, restart, watchdog, limits, nested, disk, net, user_data

string values must be quoted
 --> /etc/virshle/config.toml:4:8
  |
4 | vram = 2G
  |        ^^
  = write "2G"

invalid boolean
 --> /etc/virshle/config.toml:5:13
  |
5 | autostart = True
  |             ^^^^
  = expected `true`

"X" is not a unit of size
 --> /etc/virshle/config.toml:8:8
  |
8 | size = '50X'
  |        ^^^^^
  = expected a text such as "512MiB": K M G T P (also KiB …) are binary, KB MB GB TB PB decimal"#
    );
}

#[test]
fn a_broken_file_gives_no_mistakes_that_follow_from_the_first() {
    // A key below a header that wasn't understood belongs to no table.
    let broken = WHOLE.replacen("[[template.vm]]", "[[template.vm]", 1);
    assert_eq!(messages(&broken), ["15: unclosed array table"]);
    let broken = WHOLE.replacen("[template.vm.net.type.tap]", "[template.vm.net.type.tap", 1);
    assert_eq!(messages(&broken), ["43: unclosed table"]);
    // What is on a line that wasn't understood isn't missing.
    for (right, wrong) in [
        ("vcpu = 2 ", "vcpu 2 "),
        ("vram = \"1GiB\"", "vram = \"1GiB"),
        ("kernel = \"~/boot/vmlinuz\"", "kernel: \"~/boot/vmlinuz\""),
        ("size = \"100G\"", "size = "),
        ("name = \"data\"", "name = = \"data\""),
        ("vcpu = { boot = 2, max = 8 }", "vcpu = { boot = 2, max 8 }"),
        ("vcpu = { boot = 2, max = 8 }", "vcpu = { boot = 2, max = 08 }"),
        ("mac = \"52:54:00:AB:cd:01\"", "mac = 52:54:00:AB:cd:01"),
        ("dns = [\"192.0.2.2\", \"2001:db8::2\"]", "dns = [192.0.2.2, 2001:db8::2]"),
        ("vlan = 12", "vlan = 12\nvlan = 13"),
    ] {
        let broken = WHOLE.replacen(right, wrong, 1);
        assert_ne!(broken, WHOLE);
        let at = WHOLE[..WHOLE.find(right).unwrap()].matches('\n').count() + 1;
        let near: Vec<String> = (at..at + 2).map(|line| format!("{line}: ")).collect();
        for message in messages(&broken) {
            assert!(near.iter().any(|line| message.starts_with(line)), "{wrong}: {message}");
        }
    }
}

#[test]
fn a_mistake_is_data_for_programs() {
    let config = parse("[[template.vm]]\nname = \"xs\"\nvcpus = 1\nvram = 1\n").unwrap();
    let json = serde_json::to_value(config.mistakes()).unwrap();
    let expected = serde_json::json!([{
        "path": "/etc/virshle/config.toml", "line": 3, "column": 1, "width": 5,
        "source_line": "vcpus = 1",
        "message": "unknown key \"vcpus\", did you mean \"vcpu\"?",
        "help": "expected one of name, vcpu, vram, firmware, kernel, initramfs, cmdline, \
                 autostart, order, delay, restart, watchdog, limits, nested, disk, net, user_data",
        "suggestion": "vcpu",
        "template": "xs",
    }]);
    assert_eq!(json, expected);
}
