use std::path::Path;

use virshle_template::{Boot, ByteSize, CloneMode, Config, Datapath, NetKind, TemplateError};

pub(crate) const SEED: &str = r#"# /etc/virshle/config.toml
[[template.vm]]
name = "xs"
vcpu = 1
vram = 2

[[template.vm.disk]]
name = "os"
path = "~/Iso/nixos.efi.img"
size = "50G"

[[template.vm.net]]
name = "main"
[template.vm.net.type.vhost]
"#;

pub(crate) const WHOLE: &str = r#"
[node]
alias = "deku"
root = "/srv/virshle"

[network]
ovsdb = "tcp:127.0.0.1:6640"
bridge = "br1"
datapath = "system"
uplink = "vs0"

[hypervisor]
program = "/opt/cloud-hypervisor"
firmware = "/usr/share/cloud-hypervisor/CLOUDHV.fd"

[[template.vm]]
name = "web"
vcpu = { boot = 2, max = 8 }
vram = { size = "1GiB", max = "4GiB", hugepages = true }
kernel = "~/boot/vmlinuz"
initramfs = "initrd.img"
cmdline = "root=/dev/vda1 console=ttyS0"
autostart = true
user_data = "me.toml"

[[template.vm.disk]]
name = "os"
path = "~/Iso/debian.qcow2"
size = "20G"
clone = "overlay"
readonly = true

[[template.vm.disk]]
name = "data"
size = "100G"

[[template.vm.net]]
name = "main"
vlan = 12
mtu = 1500
mac = "52:54:00:AB:cd:01"
address = ["192.0.2.10/24", "2001:db8::1/64"]
gateway = "192.0.2.1"
dns = ["192.0.2.2"]
[template.vm.net.type.tap]

[[template.vm.net]]
name = "wan"
type = "macvtap"
link = "eth0"
"#;

pub(crate) fn parse(text: &str) -> Result<Config, TemplateError> {
    Config::from_toml(text, Path::new("/etc/virshle/config.toml"))
}

#[test]
fn the_first_users_file_works_unchanged() {
    let config = parse(SEED).unwrap();
    assert_eq!(config.mistakes(), []);
    let xs = config.template("xs").unwrap();
    assert_eq!((xs.vcpus.boot, xs.vcpus.max), (1, 1));
    assert_eq!(xs.memory.size, ByteSize::from_bytes(2 << 30));
    assert_eq!(xs.boot, Boot::Firmware(None));
    let home = std::env::home_dir().unwrap();
    assert_eq!(xs.disks[0].source, Some(home.join("Iso/nixos.efi.img")));
    assert_eq!(xs.disks[0].size, Some(ByteSize::from_bytes(50 << 30)));
    assert_eq!(xs.disks[0].clone, CloneMode::Auto);
    assert_eq!((xs.nets[0].name.as_str(), xs.nets[0].kind), ("main", NetKind::Vhost));
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.mistakes(), []);
    assert_eq!(config.node.alias.as_deref(), Some("deku"));
    assert_eq!(config.node.root.as_deref(), Some(Path::new("/srv/virshle")));
    assert_eq!(config.network.ovsdb, "tcp:127.0.0.1:6640");
    assert_eq!(config.network.bridge, "br1");
    assert_eq!(config.network.datapath, Datapath::System);
    assert_eq!(config.network.uplink.as_deref(), Some("vs0"));
    assert_eq!(config.hypervisor.program, Path::new("/opt/cloud-hypervisor"));
    let web = config.template("web").unwrap();
    assert_eq!((web.vcpus.boot, web.vcpus.max), (2, 8));
    assert_eq!(web.memory.max, Some(ByteSize::from_bytes(4 << 30)));
    assert!(web.memory.hugepages && web.autostart && web.disks[0].readonly);
    let Boot::Kernel { kernel, initramfs, cmdline } = &web.boot else { panic!("{:?}", web.boot) };
    assert!(kernel.is_absolute() && kernel.ends_with("boot/vmlinuz"), "{kernel:?}");
    assert_eq!(initramfs.as_deref(), Some(Path::new("/etc/virshle/initrd.img")));
    assert_eq!(cmdline.as_deref(), Some("root=/dev/vda1 console=ttyS0"));
    assert_eq!(web.user_data.as_deref(), Some(Path::new("/etc/virshle/me.toml")));
    assert_eq!(web.disks[0].clone, CloneMode::Overlay);
    assert_eq!((web.disks[1].source.as_ref(), web.disks[1].size.is_some()), (None, true));
    let net = &web.nets[0];
    assert_eq!((net.vlan, net.mtu, net.kind), (Some(12), Some(1500), NetKind::Tap));
    assert_eq!(net.mac.as_deref(), Some("52:54:00:ab:cd:01"));
    assert_eq!(net.addresses, ["192.0.2.10/24", "2001:db8::1/64"]);
    assert_eq!((net.gateways.len(), net.dns.len()), (1, 1));
    assert_eq!((web.nets[1].kind, web.nets[1].link.as_deref()), (NetKind::Macvtap, Some("eth0")));
}

#[test]
fn nothing_at_all_is_every_default() {
    let config = parse("").unwrap();
    assert_eq!(config.network.ovsdb, "unix:/run/openvswitch/db.sock");
    assert_eq!(config.network.bridge, "br0");
    assert_eq!(config.hypervisor.program, Path::new("cloud-hypervisor"));
    let error = config.template("xs").unwrap_err();
    assert!(matches!(error, TemplateError::NotFound { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("[[template.vm]]"));
}

#[test]
fn an_unknown_template_is_answered_with_the_nearest() {
    let error = parse(SEED).unwrap().template("xl").unwrap_err();
    assert_eq!(error.to_string(), "no template \"xl\"");
    assert!(error.hint().unwrap().contains("\"xs\""), "{:?}", error.hint());
}

#[test]
fn what_is_read_is_shown_as_json_with_sizes_in_bytes() {
    let config = parse(SEED).unwrap();
    let json = serde_json::to_value(config.template("xs").unwrap()).unwrap();
    assert_eq!(json["vram"]["size"], 2_u64 << 30);
    assert_eq!(json["disk"][0]["size"], 50_u64 << 30);
    assert_eq!(json["net"][0]["type"], "vhost");
}
