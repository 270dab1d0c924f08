//! Seeds as two versions of cloud-init read them: the one that is installed, and a current one; by each of
//! their renderers.

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

    let routed = rendered("routed");
    // The one that has a word for it; the others write the route, and the guest's own program decides.
    let netplan = file(&routed["netplan"], "netplan");
    assert_has(
        netplan,
        &["-   on-link: true\n                to: 0.0.0.0/0\n                via: 172.31.1.1\n"],
    );
    assert_has(netplan, &["gateway6: fe80::1\n"]);
    assert_eq!(netplan.matches("on-link").count(), 1, "{netplan}");
    assert_has(file(&routed["networkd"], "init-four"), &["Gateway=172.31.1.1\n"]);
    assert_has(file(&routed["networkd"], "init-six"), &["Gateway=fe80::1\n"]);
    assert_has(file(&routed["network-manager"], "six"), &["gateway=fe80::1\n"]);
    assert_has(file(&routed["sysconfig"], "ifcfg-four"), &["GATEWAY=172.31.1.1\n"]);
    assert_has(file(&routed["eni"], "interfaces"), &["gateway fe80::1\n"]);
}

#[test_on(CloudInitReader)]
fn every_renderer_of_the_installed_cloud_init_has_the_default_routes() {
    every_renderer_has_the_default_routes(&CloudInitReader::installed().unwrap());
}

#[test_on(CloudInitCurrent)]
fn every_renderer_of_a_current_cloud_init_has_the_default_routes() {
    every_renderer_has_the_default_routes(&CloudInitReader::current().unwrap());
}
