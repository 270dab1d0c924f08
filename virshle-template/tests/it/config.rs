use std::path::Path;

use crate::schema_check::Schema;
use virshle_template::{
    BitRate, Boot, ByteSize, CloneMode, Config, Datapath, NetKind, TemplateError,
};

/// The file that the first users have, to the letter.
pub(crate) const SEED: &str = r#"[[template.vm]]
name = "xs"
vcpu = 1
vram = 2                          # a bare number is GiB; "2GiB", "512MiB", "2G" work too

[[template.vm.disk]]
name = "os"
path = "~/Iso/nixos.efi.img"
size = "50G"                      # K M G T are binary, as in qemu-img; KB MB GB TB are decimal

[[template.vm.net]]
name = "main"
[template.vm.net.type.vhost]      # vhost-user port on Open vSwitch, userspace datapath
"#;

/// Every key there is; the first part is the example of the interface, with its gaps filled.
pub(crate) const WHOLE: &str = r#"[node]
alias = "deku"                    # what `v vm ls` calls this node; the host name if unset
root = "/var/lib/virshle"         # $XDG_DATA_HOME/virshle when not root

[network]
ovsdb = "unix:/run/openvswitch/db.sock"
bridge = "br0"                    # the switch of the machines
datapath = "netdev"               # netdev (userspace) | system (kernel module)
uplink = "vs0"                    # optional: the host's switch, linked to `bridge` by a patch pair

[hypervisor]
program = "cloud-hypervisor"      # a path, or a name looked up in PATH
firmware = "/usr/share/cloud-hypervisor/CLOUDHV.fd"

[[template.vm]]
name = "web"
vcpu = 2                          # or { boot = 2, max = 8 }
vram = "1GiB"                     # or { size = "1GiB", max = "4GiB", hugepages = false }
kernel = "~/boot/vmlinuz"
initramfs = "~/boot/initrd.img"
cmdline = "root=/dev/vda1 console=ttyS0"
autostart = false

[[template.vm.disk]]
name = "os"
path = "~/Iso/debian.qcow2"       # raw or qcow2, recognised by content and never by suffix
size = "20G"                      # at least the image's own size; smaller is an error
clone = "auto"                    # auto | reflink | copy | overlay (qcow2 on top of the image)
readonly = false

[[template.vm.disk]]
name = "data"
size = "100G"                     # no path: a new, empty, sparse disk

[[template.vm.net]]
name = "main"
vlan = 12
mtu = 1500
mac = "52:54:00:AB:cd:01"
rate_in = "1.5Gbit/s"
rate_out = "100MB/s"
queues = 1
[template.vm.net.type.tap]        # user | vhost | tap | bridge | macvtap

[[template.vm]]
name = "more"
vcpu = { boot = 2, max = 8 }
vram = { size = "1GiB", max = "4GiB", hugepages = true }
firmware = "fw/CLOUDHV.fd"
autostart = true
order = 3
delay = "1m30s"
restart = "on-failure"
watchdog = true
limits = { cpu_weight = 200, cpu_limit = "150%", cpu_affinity = "0-3" }
user_data = "me.toml"

[[template.vm.disk]]
name = "os"
image = "debian-13"
clone = "overlay"
readonly = true
queues = 2

[[template.vm.net]]
name = "main"
type = "vhost"
address = ["192.0.2.10/24", "2001:db8::1/64"]
gateway = "192.0.2.1"
dns = ["192.0.2.2", "2001:db8::2"]

[[template.vm.net]]
name = "wan"
type = "macvtap"
link = "eth0"

[[template.vm.net]]
name = "lan"
link = "vmbr0"
trunk = [0, 12]
[template.vm.net.type.bridge]
"#;

/// What the parser makes of `text`. The schema for editors has to agree, whatever the text is.
#[track_caller]
pub(crate) fn parse(text: &str) -> Result<Config, TemplateError> {
    let config = Config::from_toml(text, Path::new("/etc/virshle/config.toml"));
    let mistakes = match &config {
        Ok(config) => config.mistakes(),
        Err(error) => error.mistakes(),
    };
    let messages: Vec<String> = mistakes.iter().map(|mistake| mistake.message.clone()).collect();
    Schema::config().assert_agrees(text, &messages);
    config
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
fn the_example_of_the_interface_arrives_whole() {
    let config = parse(WHOLE).unwrap();
    let home = std::env::home_dir().unwrap();
    assert_eq!(config.mistakes(), []);
    assert_eq!(config.origin(), Some(Path::new("/etc/virshle/config.toml")));
    assert_eq!(config.node.alias.as_deref(), Some("deku"));
    assert_eq!(config.node.root.as_deref(), Some(Path::new("/var/lib/virshle")));
    assert_eq!(config.network.ovsdb, "unix:/run/openvswitch/db.sock");
    assert_eq!(config.network.bridge, "br0");
    assert_eq!(config.network.datapath, Datapath::Netdev);
    assert_eq!(config.network.uplink.as_deref(), Some("vs0"));
    assert_eq!(config.hypervisor.program, Path::new("cloud-hypervisor"));
    let firmware = Path::new("/usr/share/cloud-hypervisor/CLOUDHV.fd");
    assert_eq!(config.hypervisor.firmware.as_deref(), Some(firmware));
    let web = config.template("web").unwrap();
    assert_eq!((web.vcpus.boot, web.vcpus.max), (2, 2));
    assert_eq!(web.memory.size, ByteSize::from_bytes(1 << 30));
    assert_eq!((web.memory.max, web.memory.hugepages, web.autostart), (None, false, false));
    let expected = Boot::Kernel {
        kernel: home.join("boot/vmlinuz"),
        initramfs: Some(home.join("boot/initrd.img")),
        cmdline: Some("root=/dev/vda1 console=ttyS0".into()),
    };
    assert_eq!(web.boot, expected);
    let [os, data] = &web.disks[..] else { panic!("{:?}", web.disks) };
    assert_eq!((os.name.as_str(), os.clone, os.readonly), ("os", CloneMode::Auto, false));
    assert_eq!(os.source, Some(home.join("Iso/debian.qcow2")));
    assert_eq!(os.size, Some(ByteSize::from_bytes(20 << 30)));
    assert_eq!((data.source.as_ref(), data.image.as_ref()), (None, None));
    assert_eq!(data.size, Some(ByteSize::from_bytes(100 << 30)));
    let [net] = &web.nets[..] else { panic!("{:?}", web.nets) };
    assert_eq!((net.vlan, net.mtu, net.kind), (Some(12), Some(1500), NetKind::Tap));
    assert_eq!(net.mac.as_deref(), Some("52:54:00:ab:cd:01"));
    let rates = (net.rate_in.map(BitRate::bits), net.rate_out.map(BitRate::bits));
    assert_eq!((rates, net.queues), ((Some(1_500_000_000), Some(800_000_000)), Some(1)));
}

#[test]
fn the_other_keys_and_forms_arrive_too() {
    let config = parse(WHOLE).unwrap();
    let more = config.template("more").unwrap();
    assert_eq!((more.vcpus.boot, more.vcpus.max), (2, 8));
    assert_eq!(more.memory.max, Some(ByteSize::from_bytes(4 << 30)));
    assert!(more.memory.hugepages && more.autostart && more.disks[0].readonly);
    assert_eq!(more.boot, Boot::Firmware(Some("/etc/virshle/fw/CLOUDHV.fd".into())));
    assert_eq!(more.user_data.as_deref(), Some(Path::new("/etc/virshle/me.toml")));
    assert_eq!(more.disks[0].image.as_deref(), Some("debian-13"));
    assert_eq!((more.disks[0].clone, more.disks[0].size), (CloneMode::Overlay, None));
    let [main, wan, lan] = &more.nets[..] else { panic!("{:?}", more.nets) };
    assert_eq!((main.kind, main.vlan, main.mtu, &main.mac), (NetKind::Vhost, None, None, &None));
    let addresses: Vec<String> = main.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.10/24", "2001:db8::1/64"]);
    assert_eq!((main.gateways.len(), main.dns.len()), (1, 2));
    assert_eq!((wan.kind, wan.link.as_deref()), (NetKind::Macvtap, Some("eth0")));
    assert_eq!((lan.kind, lan.link.as_deref()), (NetKind::Bridge, Some("vmbr0")));
    let names: Vec<&str> = config.templates().map(|template| template.name.as_str()).collect();
    assert_eq!(names, ["web", "more"]);
}

#[test]
fn nothing_at_all_is_every_default() {
    for text in ["", "# nothing\n", "[node]\n[network]\n[hypervisor]\n[template]\n"] {
        let config = parse(text).unwrap();
        assert_eq!(config.network, Config::default().network);
        assert_eq!(config.templates().count(), 0);
    }
    let config = Config::default();
    assert_eq!(config.origin(), None);
    assert_eq!((config.node.alias.as_ref(), config.node.root.as_ref()), (None, None));
    assert_eq!(config.network.ovsdb, "unix:/run/openvswitch/db.sock");
    assert_eq!(config.network.bridge, "br0");
    assert_eq!(config.hypervisor.program, Path::new("cloud-hypervisor"));
    let error = config.template("xs").unwrap_err();
    assert!(matches!(error, TemplateError::NotFound { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("[[template.vm]]"));
}

#[test]
fn an_unknown_template_is_answered_with_the_nearest() {
    let error = parse(WHOLE).unwrap().template("wep").unwrap_err();
    assert_eq!(error.to_string(), "no template \"wep\"");
    assert_eq!(error.hint().unwrap(), "did you mean \"web\"? the templates are web, more");
    let error = parse(WHOLE).unwrap().template("debian").unwrap_err();
    assert_eq!(error.hint().unwrap(), "the templates are web, more");
    let TemplateError::NotFound { name, known, nearest } = error else { panic!("{error}") };
    assert_eq!((name.as_str(), nearest), ("debian", None));
    assert_eq!(known, ["web", "more"]);
}

#[test]
fn what_is_read_is_shown_as_json_with_sizes_in_bytes() {
    let config = parse(WHOLE).unwrap();
    let json = serde_json::to_value(config.template("more").unwrap()).unwrap();
    let expected = serde_json::json!({
        "name": "more",
        "vcpu": { "boot": 2, "max": 8 },
        "vram": { "size": 1_u64 << 30, "max": 4_u64 << 30, "hugepages": true },
        "boot": { "firmware": "/etc/virshle/fw/CLOUDHV.fd" },
        "autostart": true,
        "order": 3,
        "delay": 90,
        "restart": "on-failure",
        "watchdog": true,
        "limits": {
            "cpu_weight": 200, "cpu_limit": 150, "cpu_affinity": "0-3", "memory_overhead": null,
            "io_weight": null, "pids": null,
        },
        "nested": false,
        "disk": [{
            "name": "os", "path": null, "image": "debian-13", "size": null,
            "clone": "overlay", "readonly": true, "queues": 2,
        }],
        "net": [
            {
                "name": "main", "type": "vhost", "vlan": null, "trunk": [], "trust": false, "mtu": null, "mac": null,
                "link": null, "address": ["192.0.2.10/24", "2001:db8::1/64"],
                "gateway": ["192.0.2.1"], "dns": ["192.0.2.2", "2001:db8::2"],
                "publish": [], "host_loopback": false,
                "rate_in": null, "rate_out": null, "queues": null,
            },
            {
                "name": "wan", "type": "macvtap", "vlan": null, "trunk": [], "trust": false, "mtu": null, "mac": null,
                "link": "eth0", "address": [], "gateway": [], "dns": [],
                "publish": [], "host_loopback": false,
                "rate_in": null, "rate_out": null, "queues": null,
            },
            {
                "name": "lan", "type": "bridge", "vlan": null, "trunk": [0, 12], "trust": false, "mtu": null, "mac": null,
                "link": "vmbr0", "address": [], "gateway": [], "dns": [],
                "publish": [], "host_loopback": false,
                "rate_in": null, "rate_out": null, "queues": null,
            },
        ],
        "user_data": "/etc/virshle/me.toml",
    });
    assert_eq!(json, expected);
}
