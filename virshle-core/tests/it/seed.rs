//! Seeds as two versions of cloud-init read them: the one that is installed, and a current one; by each of
//! their renderers.

use std::path::Path;

use serde_json::{Value, json};
use virshle_core::template::UserData;
use virshle_core::{CreateRequest, Provision, Vm};
use virshle_testkit::{CloudInitReader, Rendered, seed_file};
use virshle_testkit_macros::test_on;

use crate::lab::Lab;

/// Guests of each kind: in both families, on a link whose gateway no address covers, in IPv6 alone,
/// and by DHCP.
const TEMPLATE: &str = r#"
[[template.vm]]
name = "net"
vcpu = 1
vram = "64MiB"
kernel = "{folder}/kernel"
[[template.vm.net]]
name = "dual"
address = ["2001:db8:1::20/64", "192.0.2.20/24"]
gateway = ["2001:db8:1::1", "192.0.2.1"]
dns = ["192.0.2.53", "2001:db8:1::53"]
mtu = 1400
type = "tap"
[[template.vm.net]]
name = "auto"
type = "tap"
[[template.vm]]
name = "routed"
vcpu = 1
vram = "64MiB"
kernel = "{folder}/kernel"
[[template.vm.net]]
name = "four"
address = "203.0.113.7/32"
gateway = "172.31.1.1"
type = "tap"
[[template.vm.net]]
name = "six"
address = "2001:db8:6::2/128"
gateway = "fe80::1"
type = "tap"
"#;

fn create(lab: &Lab, template: &str, provision: Provision) -> Vm {
    let request = CreateRequest::new(template).provision(provision);
    lab.node.create(&request, &|_| {}).unwrap().remove(0).result.unwrap()
}

/// The file of `rendered` whose name has `part`.
#[track_caller]
fn file<'a>(rendered: &'a Rendered, part: &str) -> &'a str {
    let found = rendered.iter().find(|(path, _)| path.contains(part));
    found.unwrap_or_else(|| panic!("no {part}: {rendered:?}")).1
}

/// The lines of a section of a file as systemd and NetworkManager have them.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, after) = text.split_once(&format!("[{name}]")).unwrap_or_default();
    after.split("\n[").next().unwrap_or_default()
}

#[track_caller]
fn assert_has(text: &str, one_of: &[&str]) {
    assert!(one_of.iter().any(|line| text.contains(line)), "{one_of:?}: {text}");
}

fn every_renderer_has_the_default_routes(reader: &CloudInitReader) {
    let lab = Lab::new(TEMPLATE);
    let rendered = |template: &str| {
        let vm = create(&lab, template, Provision::Template);
        let config = seed_file(&vm.disk("seed"), "network-config").unwrap();
        let found = reader.networks(&config).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.len(), 5, "{found:?}");
        for text in found.values().flat_map(Rendered::values) {
            // What cloud-init of before 24.1 makes of ::/0.
            assert!(!text.contains("=::/64") && !text.contains(" ::/64"), "{text}");
        }
        found
    };
    let net = rendered("net");
    let networkd = file(&net["networkd"], "init-dual");
    for line in ["Gateway=192.0.2.1\n", "Gateway=2001:db8:1::1\n", "Address=192.0.2.20/24\n"] {
        assert_has(networkd, &[line]);
    }
    assert_has(file(&net["networkd"], "init-auto"), &["DHCP=ipv4"]);
    let eni = file(&net["eni"], "interfaces");
    assert_has(eni, &["route add default gw 192.0.2.1 ", "route add default via 192.0.2.1 "]);
    assert_has(eni, &["gateway 2001:db8:1::1\n"]);
    let manager = file(&net["network-manager"], "dual.nmconnection");
    assert_has(section(manager, "ipv4"), &["route1=0.0.0.0/0,192.0.2.1\n", "gateway=192.0.2.1\n"]);
    assert_has(section(manager, "ipv6"), &["gateway=2001:db8:1::1\n"]);
    assert_has(section(manager, "ipv6"), &["dns=2001:db8:1::53;"]);
    let sysconfig = file(&net["sysconfig"], "ifcfg-dual");
    for line in ["\nGATEWAY=192.0.2.1\n", "IPV6_DEFAULTGW=2001:db8:1::1\n", "MTU=1400\n"] {
        assert_has(sysconfig, &[line]);
    }
    let netplan = file(&net["netplan"], "netplan");
    assert_has(netplan, &["via: 192.0.2.1\n"]);
    assert_has(netplan, &["gateway6: 2001:db8:1::1\n"]);
    assert!(!netplan.contains("on-link"), "{netplan}");

    // The gateway, and the way to it: a route that has none. What networkd makes of it is below.
    let routed = rendered("routed");
    let netplan = file(&routed["netplan"], "netplan");
    assert_has(netplan, &["to: 172.31.1.1/32\n                via: 0.0.0.0\n"]);
    assert_has(netplan, &["gateway4: 172.31.1.1\n"]);
    assert_has(netplan, &["gateway6: fe80::1\n"]);
    assert_has(file(&routed["networkd"], "init-four"), &["Gateway=172.31.1.1\n"]);
    assert_has(file(&routed["networkd"], "init-six"), &["Gateway=fe80::1\n"]);
    assert_has(file(&routed["network-manager"], "four"), &["route1=172.31.1.1/32,0.0.0.0\n"]);
    assert_has(file(&routed["network-manager"], "four"), &["gateway=172.31.1.1\n"]);
    assert_has(file(&routed["network-manager"], "six"), &["gateway=fe80::1\n"]);
    assert_has(file(&routed["sysconfig"], "ifcfg-four"), &["GATEWAY=172.31.1.1\n"]);
    // ifupdown itself takes it for one on the link.
    assert_has(file(&routed["eni"], "interfaces"), &["    gateway 172.31.1.1\n"]);
    assert_has(file(&routed["eni"], "interfaces"), &["gateway fe80::1\n"]);
}

/// Regression: a guest whose gateway no address covers had no default route unless netplan made it (#12).
#[test_on(Root, Networkd, CloudInitReader)]
fn root_networkd_makes_the_default_routes_by_a_gateway_outside() {
    let template = TEMPLATE.replace("fe80::1", "2001:db8:ffff::1");
    let lab = Lab::new(&template);
    let vm = create(&lab, "routed", Provision::Template);
    let config = seed_file(&vm.disk("seed"), "network-config").unwrap();
    let nets = &vm.definition().nets;
    let interfaces: Vec<(String, String)> =
        nets.iter().map(|net| (net.name.clone(), net.mac.to_string())).collect();
    let interfaces: Vec<(&str, &str)> =
        interfaces.iter().map(|(name, mac)| (name.as_str(), mac.as_str())).collect();
    for reader in CloudInitReader::all() {
        let files = reader.networks(&config).unwrap_or_else(|error| panic!("{error}"));
        let routes = virshle_testkit::networkd_routes(&files["networkd"], &interfaces).unwrap();
        for line in ["default via 172.31.1.1 dev four ", "default via 2001:db8:ffff::1 dev six "] {
            assert!(routes.contains(line), "{line}: {routes} {files:?}");
        }
    }
}

#[test_on(CloudInitReader)]
fn every_renderer_of_the_installed_cloud_init_has_the_default_routes() {
    every_renderer_has_the_default_routes(&CloudInitReader::installed().unwrap());
}

#[test_on(CloudInitCurrent)]
fn every_renderer_of_a_current_cloud_init_has_the_default_routes() {
    every_renderer_has_the_default_routes(&CloudInitReader::current().unwrap());
}

/// The cloud-config that `reader` makes of user data of several files; and the user that is remembered.
fn merged(reader: &CloudInitReader, files: &[&str]) -> (Value, Option<String>) {
    let lab = Lab::new(TEMPLATE);
    let parse = |text: &&str| UserData::parse(text, Path::new("/me")).unwrap();
    let vm = create(&lab, "net", Provision::With(files.iter().map(parse).collect()));
    let text = seed_file(&vm.disk("seed"), "user-data").unwrap();
    let mut configs = reader.configs(&[text]).unwrap_or_else(|error| panic!("{error}"));
    (configs.remove(0), vm.ssh_user().map(ToOwned::to_owned))
}

fn names(config: &Value) -> Vec<&str> {
    config["users"].as_array().unwrap().iter().filter_map(|user| user["name"].as_str()).collect()
}

#[test_on(CloudInitReader)]
fn several_user_data_are_merged_key_by_key_and_the_user_is_remembered() {
    let a = "packages = ['htop']\ncommands = ['touch /a']\ntimezone = 'Europe/Athens'\n\
             [[user]]\nname = 'ann'\n";
    let b = "packages = ['tmux']\ncommands = ['touch /b']\ntimezone = 'UTC'\n\
             [[user]]\nname = 'bob'\n";
    let yaml = "#cloud-config\nusers: [{name: cid}]\nruncmd: [touch /c]\nntp: {enabled: true}\n\
                write_files: [{path: /x, content: büro}]\n";
    let more = "#cloud-config\nntp: {servers: [n], enabled: false}\nssh: {a: 1}\n";
    let script = "#!/bin/sh\ntrue\n";
    for reader in CloudInitReader::all() {
        let (config, user) = merged(&reader, &[a, b]);
        assert_eq!(config["packages"], json!(["htop", "tmux"]), "{config}");
        assert_eq!(config["runcmd"], json!(["touch /a", "touch /b"]));
        assert_eq!(config["timezone"], "Europe/Athens");
        assert_eq!((names(&config), user.as_deref()), (vec!["ann", "bob"], Some("ann")));
        let (config, user) = merged(&reader, &[script, yaml, b, more]);
        assert_eq!(config["runcmd"], json!(["touch /c", "touch /b"]), "{config}");
        assert_eq!(config["ntp"], json!({ "enabled": true, "servers": ["n"] }));
        assert_eq!(config["write_files"][0]["content"], "büro");
        assert_eq!(config["packages"], json!(["tmux"]));
        assert_eq!((names(&config), user.as_deref()), (vec!["cid", "bob"], Some("cid")));
    }
}

/// Regression: every account had the shell /bin/bash, and where that isn't, as in Alpine, sshd let nobody in
/// (#12).
#[test_on(CloudInitReader)]
fn an_account_has_the_shell_of_its_distribution_unless_one_is_asked_for() {
    let files = "[[user]]\nname = 'ann'\ngroups = ['adm']\n\
                 [[user]]\nname = 'bob'\nshell = '/bin/zsh'\n";
    for reader in CloudInitReader::all() {
        let (config, _) = merged(&reader, &[files]);
        for distribution in ["alpine", "debian", "fedora", "arch"] {
            let run = reader.accounts(distribution, &config).unwrap_or_else(|e| panic!("{e}"));
            let added = |name: &str| {
                // Alpine's own is busybox's, which cloud-init has known since 24.3.
                let words = run.iter().find(|words| {
                    ["useradd", "adduser"].contains(&words[0].as_str())
                        && words.iter().any(|word| word == name)
                });
                words.unwrap_or_else(|| panic!("{name} of {distribution}: {run:?}")).join(" ")
            };
            assert!(!added("ann").contains("sh"), "{distribution}: {}", added("ann"));
            assert!(added("bob").contains("/bin/zsh"), "{distribution}: {}", added("bob"));
        }
    }
}

/// Our own TOML may have any character in its texts.
#[test_on(CloudInitReader)]
fn text_of_any_kind_comes_to_the_guest_as_it_is() {
    let command =
        "printf '\u{7}\t\u{7f}\u{85}\u{9b}\u{2028}\u{feff}\u{ffff} büro 🦀 {{ x }} !Ref \\\\n'";
    let escaped: String = command.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
    let toml = format!("commands = [\"{escaped}\"]\n");
    for reader in CloudInitReader::all() {
        for files in [&[toml.as_str()][..], &[&toml, "#!/bin/sh\ntrue\n"]] {
            let (config, _) = merged(&reader, files);
            assert_eq!(config["runcmd"][0], command, "{reader:?} {config}");
        }
    }
}

/// What people write for other tools, or by mistake; each as it would be in a file. Of the first cloud-init
/// makes something, of the others nothing at all.
const READ: &[&str] = &[
    "packages: [htop]\n",
    "\u{20}# comment\npackages:\n- htop\nusers:\n- default\n- {name: ada, groups: [adm, sudo]}\n",
    "write_files:\n- path: /Makefile\n  content: |\n    all:\n    \ttrue\n\n- {path: /b, content: \"a\\tb\"}\n",
    "---\nruncmd:\n- [sh, -c, 'echo \"$x\" # no comment']\n...\n",
    "x: &x {a: 1}\ny: {<<: *x, b: 2}\nz: *x\n",
    "final_message: '{{ x }}'\nwrite_files: [{content: !!binary aGk=, path: /a}]\n",
    "a: 2024-02-29\nb: 2024-02-29T23:59:59+02:00\nc: 0x1F\nd: 1e3\ne: yes\nf: ~\n",
    "bootcmd:\r\n- echo a\r\n",
    "fqdn: büro.example.org # 🦀\n",
    "? complex\n: value\n",
    "users: [bob]\nusers: [ada]\n",
    "a: >-\n  folded\n  more\nb: |2\n   x\ty\n",
    "a: \"x\\x07\\u0085\"\n",
    "quoted: 'tab\there'\n#\ttab\n",
];
const NOT_READ: &[&str] = &[
    "runcmd:\n - echo a\n\t\n - echo b\n",
    "runcmd:\n\t- echo a\n",
    "a: b\t# comment\n",
    "a: b\t\n",
    "a:\tb\n",
    "a: [1,\t2]\n",
    "a: |\n  x\n\ty\n",
    "hostname: {{ v1.local_hostname }}\n",
    "a: [{{ x }}]\n",
    "a: !Ref Bucket\n",
    "a: !Sub\n- b\n",
    "a: !!python/name:os.system\n",
    "a: 1\n---\nb: 2\n",
    "a: 1\n---\n",
    "a: \"\u{7}\"\n",
    "# \u{1b}[31mred\na: 1\n",
    "a: \u{7f}\n",
    "a: \u{fffe}\n",
    "a: 2024-02-30\n",
    "a: =\n",
    "a: &x 1\nb: &x 2\n",
    "a: *nothing\n",
    "a: [http://b/?c]\n",
    "a: {b: c,: d}\n",
    "<<: 3\n",
    "a: b: c\n",
    "a: 'b\n",
    "a: [b\n",
    " a: 1\nb: 2\n",
    "- a\n",
    "just text\n",
    "a: @b\n",
    "a: %b\n",
    "a: `b`\n",
    "? [a]\n: b\n",
    "a: !!int x\n",
    "a: !!binary aGVsbG8\n",
];

fn the_same_is_read(reader: &CloudInitReader) {
    let with_header = |text: &&str| format!("#cloud-config\n{text}");
    let texts: Vec<String> = READ.iter().chain(NOT_READ).map(with_header).collect();
    let configs = reader.configs(&texts).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(configs.len(), texts.len());
    for (at, (text, config)) in texts.iter().zip(&configs).enumerate() {
        let is_read = config.as_object().is_some_and(|config| !config.is_empty());
        assert_eq!(is_read, at < READ.len(), "{text:?} is to cloud-init {config}");
        let ours = UserData::parse(text, Path::new("/u"));
        assert_eq!(ours.is_ok(), is_read, "{text:?} is to cloud-init {config}, to us {ours:?}");
        if let Ok(data) = ours {
            let names: Vec<&str> = config["users"]
                .as_array()
                .map(|users| users.iter().filter_map(|u| u.as_str().or(u["name"].as_str())))
                .into_iter()
                .flatten()
                .filter(|name| *name != "default")
                .collect();
            assert_eq!(data.first_user().as_deref(), names.first().copied(), "{text:?}");
        }
    }
}

#[test_on(CloudInitReader)]
fn the_installed_cloud_init_reads_what_is_taken_and_nothing_else() {
    the_same_is_read(&CloudInitReader::installed().unwrap());
}

#[test_on(CloudInitCurrent)]
fn a_current_cloud_init_reads_what_is_taken_and_nothing_else() {
    the_same_is_read(&CloudInitReader::current().unwrap());
}
