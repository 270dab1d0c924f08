//! The first users' session, to the letter, on a real switch and real VMMs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;
use virshle_testkit::{NetNamespace, OpenVswitch, TestKernel};
use virshle_testkit_macros::test_on;

use crate::home::{Home, machines_below};

/// The configuration of the first users; only the image's directory is the test's.
const FIRST: &str = r#"
[[template.vm]]
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

/// The same machine in less memory, on a tap.
const TAP: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"
[[template.vm.disk]]
name = "os"
path = "~/Iso/nixos.efi.img"
[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]
"#;

/// A home with an image and a firmware, on a switch of its own. Its machines end with it.
struct Host {
    home: Home,
    ovs: OpenVswitch,
    image: Image,
}

/// The attributes of an image that must never change.
#[derive(Debug, PartialEq)]
struct Image {
    content: Vec<u8>,
    modified: (i64, i64),
}

impl Host {
    fn new(ovs: OpenVswitch, templates: &str) -> Self {
        let home = Home::new();
        for directory in ["Iso", ".local/share/cloud-hypervisor"] {
            fs::create_dir_all(home.path(directory)).unwrap();
        }
        let content: Vec<u8> = (0..3_u32 << 18).flat_map(u32::to_le_bytes).collect();
        fs::write(home.path("Iso/nixos.efi.img"), content).unwrap();
        let firmware = TestKernel::obeys().write(&home.path("")).unwrap();
        fs::rename(firmware, home.path(".local/share/cloud-hypervisor/CLOUDHV.fd")).unwrap();
        let program = std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into());
        home.write_config(&format!(
            "{templates}\n[node]\nalias = \"deku\"\n[hypervisor]\nprogram = {program:?}\n\
             [network]\novsdb = {:?}\n",
            ovs.address()
        ));
        let image = image(&home);
        Self { home, ovs, image }
    }

    fn interface(&self, name: &str, column: &str) -> String {
        self.ovs.vsctl(&["get", "Interface", name, column]).trim().to_owned()
    }

    /// Everything that a running machine has, found without `v`.
    fn assert_nothing_left(&self) {
        assert_eq!(machines_below(&self.home.root()), 0);
        assert_eq!(self.ovs.vsctl(&["list-ports", "br0"]), "");
        let root = self.home.root();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let ours =
                line.starts_with("cloud-hypervisor") && line.contains(root.to_str().unwrap());
            assert!(!ours, "{line}");
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
        let links = Command::new("ip").args(["-o", "link"]).output().unwrap();
        let links = String::from_utf8(links.stdout).unwrap();
        assert!(!links.contains("vm1-"), "{links}");
        let check = self.home.run("node check --json");
        let check: Value = serde_json::from_str(&check.stdout).unwrap();
        assert_eq!(check["orphans"], serde_json::json!([]));
        assert_eq!(image(&self.home), self.image);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.home.command(&["vm", "rm", "--all", "--force"]).output());
    }
}

fn image(home: &Home) -> Image {
    let path = home.path("Iso/nixos.efi.img");
    let metadata = path.metadata().unwrap();
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    Image { content: fs::read(path).unwrap(), modified }
}

#[test_on(Dpdk, Ch, Kvm)]
fn dpdk_the_first_users_session_works_as_they_typed_it() {
    let _namespace = NetNamespace::enter().unwrap();
    let host = Host::new(OpenVswitch::with_dpdk(), FIRST);
    let home = &host.home;
    assert!(home.ok("node init").contains("bridge br0 (netdev datapath)"));
    for _ in 0..3 {
        home.ok("vm create -t xs");
    }
    let table = home.ok("vm ls");
    assert!(table.starts_with("deku on "), "{table}");
    assert_eq!(table.matches("│ 1    │ 2 GiB │ stopped │").count(), 3, "{table}");
    home.ok("vm start --id 1");
    let machines = home.json("vm ls");
    let states: Vec<&str> =
        machines.as_array().unwrap().iter().map(|vm| text(vm, "state")).collect();
    assert_eq!(states, ["running", "stopped", "stopped"]);
    let disk = &machines[0]["disks"][0];
    assert_eq!((text(disk, "format"), disk["size"].as_u64()), ("raw", Some(50 << 30)));
    let port = machines[0]["nets"][0]["port"].as_str().unwrap();
    assert!(host.interface(port, "ofport").parse::<u32>().unwrap() > 0);
    assert_eq!(host.interface(port, "error"), "[]");
    // That the switch is connected to the socket, and not only has its name.
    let socket = machines[0]["nets"][0]["socket"].as_str().unwrap();
    let sockets = fs::read_to_string("/proc/thread-self/net/unix").unwrap();
    let ends = sockets.lines().filter(|line| line.ends_with(socket)).count();
    assert!(ends >= 1, "{sockets}");
    assert!(host.ovs.vswitchd_log().contains("new device, handle is"));
    home.ok("vm stop --id 1");
    assert_eq!(home.json("vm info 1")["last_exit"], "stopped");
    home.ok("vm rm --all");
    host.assert_nothing_left();
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_each_command_answers_programs_in_one_document() {
    let _namespace = NetNamespace::enter().unwrap();
    let host = Host::new(OpenVswitch::start(), TAP);
    let home = &host.home;
    assert!(home.json("node init --dry-run").to_string().contains("br0"));
    assert!(home.json("node init").to_string().contains("br0"));
    assert_eq!(home.json("node check")["orphans"], serde_json::json!([]));
    assert_eq!(home.json("node info")["alias"], "deku");
    assert_eq!(home.json("vm create -t xs -n 2 --start")[1]["state"], "running");
    assert_eq!(home.json("vm start 1")[0]["state"], "running");
    assert_eq!(home.json("vm pause 1")[0]["state"], "paused");
    assert_eq!(home.json("vm ls --state paused")[0]["id"], 1);
    assert_eq!(home.json("vm resume 1")[0]["state"], "running");
    assert_eq!(home.json("vm restart 1")[0]["state"], "running");
    let port = home.json("vm info 1")["nets"][0]["port"].to_string();
    assert!(port.starts_with("\"vm1-"), "{port}");
    assert_eq!(home.json("vm config 1")["id"], 1);
    assert_eq!(home.json("vm config 1 --vmm")["disks"][0]["image_type"], "Raw");
    assert!(home.json("vm config 1 --command").as_array().unwrap().len() > 10);
    assert_eq!(home.json("vm wait 1 2 --for boot").as_array().unwrap().len(), 2);
    assert!(home.json("vm logs 1 --events").to_string().contains("booted"));
    assert_eq!(home.json("vm stop 1 2")[0]["last_exit"], "stopped");
    assert_eq!(home.json("vm rm 1 2").as_array().unwrap().len(), 2);
    host.assert_nothing_left();
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_ten_machines_leave_their_image_as_it_was() {
    let _namespace = NetNamespace::enter().unwrap();
    let host = Host::new(OpenVswitch::start(), TAP);
    let home = &host.home;
    let init = home.run("node init");
    assert!(init.code == 0 && init.stderr.contains("\nHost vm/* vm+* "), "{init:?}");
    home.ok("node ssh-config --install");
    assert_eq!(home.run("node init").stderr, "");
    home.ok("vm create -t xs -n 10 --start");
    assert_eq!(home.json("vm ls --state running").as_array().unwrap().len(), 10);
    home.ok("vm rm --all --force");
    host.assert_nothing_left();
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}
