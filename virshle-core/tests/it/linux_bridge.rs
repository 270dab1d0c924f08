//! Machines on a real bridge of the host's kernel.

use std::process::Command;

use virshle_core::net::{Device, InterfaceName, LinuxBridge};
use virshle_core::{Change, CoreError, ErrorKind, Force, Level, StopRequest, Vm, VmState};
use virshle_testkit::{Frame, GuestNic, NetNamespace, OpenVswitch};
use virshle_testkit_macros::test_on;

use crate::lab::{LEAST, Lab, networked_config, patient};

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {words}");
}

fn add_bridge(name: &str) {
    ip(&format!("link add {name} type bridge"));
    ip(&format!("link set {name} up"));
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn net(keys: &str) -> String {
    format!(
        "{LEAST}[[template.vm.net]]\nname = \"main\"\nlink = \"vmbr0\"\n{keys}\n\
         [template.vm.net.type.bridge]\n"
    )
}

/// A node of machines on the bridge `vmbr0`, which is there. No switch is.
fn lab(keys: &str) -> Lab {
    Lab::new(&net(keys))
}

fn start(vm: &Vm) -> Result<Change, CoreError> {
    Ok(vm.start(&patient())?)
}

fn port(vm: &Vm) -> InterfaceName {
    vm.definition().nets[0].port.parse().unwrap()
}

fn master(device: &InterfaceName) -> Option<u32> {
    Device::find(device).unwrap().unwrap().master_index
}

#[test_on(Root, Ch, Kvm)]
fn root_a_machine_on_a_bridge_of_the_kernel_needs_no_switch_and_leaves_nothing() {
    let _namespace = NetNamespace::enter().unwrap();
    add_bridge("vmbr0");
    ip("link set vmbr0 mtu 9000 address 52:54:00:ff:ff:01");
    let first = net("address = \"192.0.2.10/24\"");
    let second = net("address = \"192.0.2.11/24\"").replace("\"xs\"", "\"ys\"");
    let lab = Lab::new(&format!("{first}{second}"));
    let vms = [lab.create("xs"), lab.create("ys")];
    for vm in &vms {
        assert_eq!(start(vm).unwrap(), Change::Done);
    }
    let bridge = LinuxBridge::find(&name("vmbr0")).unwrap();
    for vm in &vms {
        let device = Device::find(&port(vm)).unwrap().unwrap();
        assert_eq!(device.master_index, Some(bridge.index));
        assert_eq!((device.is_up, device.mtu_bytes), (true, 9000));
        assert_eq!(device.mac.unwrap().bytes()[0], 0xfe);
        assert_eq!(Device::isolation_lapses(&port(vm)).unwrap(), [""; 0]);
    }
    // The host's own bridge is as it was.
    assert_eq!(bridge.mtu_bytes, 9000);
    let host = Device::find(&name("vmbr0")).unwrap().unwrap();
    assert_eq!(host.mac.unwrap().to_string(), "52:54:00:ff:ff:01");
    lab.assert_no_orphans();

    let [one, two] = [&vms[0], &vms[1]]
        .map(|vm| GuestNic::of_vmm(vm.info().pid.unwrap(), port(vm).as_str()).unwrap());
    let mac = vms[0].definition().nets[0].mac.bytes();
    let asks = |sender: &str, target: &str| {
        Frame::arp_request(mac, sender.parse().unwrap(), target.parse().unwrap())
    };
    one.send(&asks("192.0.2.10", "192.0.2.4").tagged(12));
    one.send(&asks("192.0.2.11", "192.0.2.5"));
    one.send(&asks("192.0.2.10", "192.0.2.6").sent_as([0x52, 0x54, 0, 0, 0, 9]));
    one.send(&asks("192.0.2.10", "192.0.2.3"));
    let mut frames = two.receive_until(|frame| frame[12..14] == [8, 6] && frame[41] == 3);
    // The host says something of its own on its bridge.
    frames.retain(|frame| frame[6..12] != [0x52, 0x54, 0, 0xff, 0xff, 1]);
    assert_eq!(frames.len(), 1, "{frames:?}");
    // They hold the taps, too.
    drop((one, two));

    for vm in vms {
        let port = port(&vm);
        vm.stop(&StopRequest::force()).unwrap();
        assert_eq!(Device::find(&port).unwrap(), None);
        vm.remove(Force::No).unwrap();
    }
    lab.assert_no_orphans();
}

/// What is wrong with the network of running machines, and that all of it is put right.
#[track_caller]
fn repaired(lab: &Lab) -> String {
    let found = lab.node.check().unwrap().disconnected;
    let what: Vec<String> = found.iter().map(ToString::to_string).collect();
    for (machine, result) in lab.node.reconnect(found) {
        result.unwrap_or_else(|error| panic!("{machine}: {error:?}"));
    }
    assert_eq!(lab.node.check().unwrap().disconnected, []);
    what.join("\n")
}

#[test_on(Root, Ch, Kvm)]
fn root_a_running_machine_that_was_taken_off_its_bridge_gets_back() {
    let _namespace = NetNamespace::enter().unwrap();
    add_bridge("vmbr0");
    let lab = lab("");
    // There is no Open vSwitch here, and nothing that needs it.
    lab.node.init(virshle_core::InitMode::Apply).unwrap();
    let vm = lab.create("xs");
    start(&vm).unwrap();
    let pid = vm.info().pid;
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);

    ip(&format!("link set {} nomaster", port(&vm)));
    assert!(repaired(&lab).contains("is not on bridge vmbr0"));
    assert!(master(&port(&vm)).is_some());
    ip(&format!("link set {} down", port(&vm)));
    assert!(repaired(&lab).contains("is down"));

    // The bridge is deleted, and made again.
    ip("link del vmbr0");
    let found = lab.node.check().unwrap();
    assert!(found.disconnected[0].to_string().contains("there is no bridge vmbr0"), "{found:?}");
    let finding = found.findings.iter().find(|finding| finding.subject == "link").unwrap();
    assert_eq!(finding.level, Level::Missing);
    let error = start(&vm).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Host, "network-failed"));
    assert!(error.hint().unwrap().contains("ip link add vmbr0 type bridge"), "{error:?}");
    add_bridge("vmbr0");
    assert_eq!(start(&vm).unwrap(), Change::Reconnected);
    assert_eq!(master(&port(&vm)), Some(LinuxBridge::find(&name("vmbr0")).unwrap().index));
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);
    assert_eq!((vm.state(), vm.info().pid), (VmState::Running, pid));

    ip(&format!("link del {}", port(&vm)));
    assert!(lab.node.check().unwrap().disconnected[0].to_string().contains("is gone"));
    assert_eq!(start(&vm).unwrap_err().code(), "tap-gone");
    vm.restart(&StopRequest::force(), &patient()).unwrap();
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);
    vm.remove(Force::Yes).unwrap();
    lab.assert_no_orphans();
}

#[test_on(Root, Ch, Kvm)]
fn root_a_bridge_that_can_not_serve_is_told_before_anything_is_changed() {
    let _namespace = NetNamespace::enter().unwrap();
    // Without one; with another kind of device; with one that is too small, or takes no notice of VLANs.
    let refused = |keys: &str, message: &str| {
        let lab = lab(keys);
        let vm = lab.create("xs");
        let error = start(&vm).unwrap_err();
        let chain = format!("{error:?}");
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        assert!(text.contains(message), "{text}\n{chain}");
        assert_eq!(error.kind(), ErrorKind::Host, "{chain}");
        assert!(error.hint().is_some(), "{chain}");
        assert_eq!(vm.state(), VmState::Stopped);
        assert_eq!(Device::find(&port(&vm)).unwrap(), None);
        assert!(!vm.directory().join("run.json").exists());
        lab.assert_no_orphans();
    };
    refused("", "there is no bridge vmbr0 on this host");
    ip("link add vmbr0 type veth peer name other");
    refused("", "vmbr0 is no bridge of the kernel: it is a veth");
    ip("link del vmbr0");
    add_bridge("vmbr0");
    refused("mtu = 9000", "cannot have an MTU of 9000: bridge vmbr0 has one of 1500");
    refused("vlan = 12", "does not filter VLANs: a port of it can't have VLAN 12");
    refused("trunk = [12, 13]", "can't have a trunk of VLANs 12, 13");
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_bridge_of_open_vswitch_is_no_link() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    ovs.vsctl(&["add-br", "vmbr0", "--", "set", "bridge", "vmbr0", "datapath_type=netdev"]);
    let lab = lab("");
    let vm = lab.create("xs");
    let error = start(&vm).unwrap_err();
    assert!(error.hint().unwrap().contains("[network] bridge = \"vmbr0\""), "{error:?}");
    assert_eq!(Device::find(&port(&vm)).unwrap(), None);
}

/// How many descriptors of the tap `port` the VMM holds.
fn descriptors_of(vm: &Vm, port: &str) -> usize {
    let pid = vm.info().pid.unwrap();
    let infos = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
    let texts = infos.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    texts.filter(|text| text.lines().any(|line| line == format!("iff:\t{port}"))).count()
}

/// A queue for each vCPU, and rates that are found to be gone and put back.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_machine_has_a_queue_for_each_vcpu_and_its_rates() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    add_bridge("vmbr0");
    let text = networked_config(&ovs, "tap")
        .replace("vcpu = 1", "vcpu = 2")
        .replace("vlan = 12", "rate_in = \"100Mbit/s\"\nrate_out = \"8Mbit/s\"");
    let text = format!(
        "{text}[[template.vm.net]]\nname = \"k\"\nlink = \"vmbr0\"\ntype = \"bridge\"\n\
         rate_in = \"100Mbit/s\"\n\
         [[template.vm.net]]\nname = \"one\"\nlink = \"vmbr0\"\ntype = \"bridge\"\nqueues = 1\n\
         [[template.vm.disk]]\nname = \"os\"\nsize = \"1M\"\n\
         [[template.vm.disk]]\nname = \"log\"\nsize = \"1M\"\nqueues = 1\n"
    );
    let lab = Lab::new(&text);
    crate::lab::init(&lab.node);
    let vm = lab.create("xs");
    start(&vm).unwrap();
    let ports: Vec<String> = vm.definition().nets.iter().map(|net| net.port.clone()).collect();
    // The VMM holds each more than once.
    let [first, second, single] = [0, 1, 2].map(|place| descriptors_of(&vm, &ports[place]));
    assert!(single > 0);
    assert_eq!([first, second], [2 * single; 2]);
    let info = vm.info();
    let queues: Vec<u16> = info.nets.iter().map(|net| net.queues).collect();
    assert_eq!(queues, [2, 2, 1]);
    let queues: Vec<u16> = info.disks.iter().map(|disk| disk.queues).collect();
    assert_eq!(queues, [2, 1]);
    let config = vm.vmm_config().unwrap();
    let disks: Vec<_> = config.disks.iter().map(|disk| disk.num_queues).collect();
    assert_eq!(disks, [Some(2), None]);
    assert_eq!((info.nets[0].rate_in, info.nets[0].rate_out), (Some(100_000_000), Some(8_000_000)));
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);

    ovs.vsctl(&["clear", "Port", &ports[0], "qos"]);
    assert!(repaired(&lab).contains("is not kept to its rates"));
    assert!(
        Command::new("tc")
            .args(["qdisc", "del", "dev", &ports[1], "root"])
            .status()
            .unwrap()
            .success()
    );
    assert!(repaired(&lab).contains("is not kept to its rates"));
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);
    vm.stop(&StopRequest::force()).unwrap();
    assert_eq!(ovs.vsctl(&["--bare", "--columns=_uuid", "list", "QoS"]), "");
    vm.remove(Force::No).unwrap();
    lab.assert_no_orphans();
}

/// All kinds of networks at once, as far as this host has them.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_machine_has_networks_of_every_kind() {
    let _namespace = NetNamespace::enter().unwrap();
    let (dpdk, passt) = (
        virshle_testkit::has(virshle_testkit::Part::Dpdk),
        virshle_testkit::has(virshle_testkit::Part::Passt),
    );
    let ovs = if dpdk { OpenVswitch::with_dpdk() } else { OpenVswitch::start() };
    add_bridge("vmbr0");
    ip("link add lower type veth peer name upper");
    ip("link set lower up");
    ip("route add default dev lower");
    let mut text = networked_config(&ovs, "tap")
        .replace("[network]", &format!("[network]\npasst = {:?}", virshle_testkit::passt()));
    let kinds = [
        ("bridge", "link = \"vmbr0\"", true),
        ("macvtap", "link = \"lower\"", has_macvtap()),
        ("user", "", passt),
        ("vhost", "", dpdk),
        ("tap", "", true),
    ];
    for (kind, keys, _) in kinds.iter().filter(|(.., has)| *has) {
        text += &format!("[[template.vm.net]]\nname = \"{kind}\"\ntype = \"{kind}\"\n{keys}\n");
    }
    let lab = Lab::new(&text);
    crate::lab::init(&lab.node);
    let vm = lab.create("xs");
    assert_eq!(start(&vm).unwrap(), Change::Done);
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);
    let missing = kinds.iter().filter(|(.., has)| !has).map(|(kind, ..)| *kind);
    println!("kinds that this host lacks: {:?}", missing.collect::<Vec<_>>());
    let names: Vec<String> = vm.info().nets.iter().map(|net| net.name.clone()).collect();
    let there = kinds.iter().filter(|(.., has)| *has).map(|(kind, ..)| *kind);
    assert_eq!(names, [vec!["main"], there.collect()].concat());
    assert_eq!(lab.node.check().unwrap().disconnected, []);
    lab.assert_no_orphans();
    vm.stop(&StopRequest::force()).unwrap();
    assert_eq!(ovs.vsctl(&["list-ports", "br0"]), "");
    vm.remove(Force::No).unwrap();
    lab.assert_no_orphans();
}

/// Whether this kernel has macvtaps, and shows their descriptors.
fn has_macvtap() -> bool {
    let add =
        ["link", "add", "link", "lower", "name", "probe", "type", "macvtap", "mode", "bridge"];
    let made = Command::new("ip").args(add).output().unwrap().status.success();
    if made {
        let index = Device::find(&name("probe")).unwrap().unwrap().index;
        let shown = std::path::Path::new(&format!("/dev/tap{index}")).exists();
        ip("link del probe");
        return shown;
    }
    false
}
