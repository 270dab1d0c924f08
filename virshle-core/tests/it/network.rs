//! Machines on real Open vSwitch and real cloud-hypervisor.

use virshle_core::{
    Change, CoreError, CreateRequest, ErrorKind, Force, InitMode, InitOutcome, Level, StartOptions,
    StopRequest, VmState,
};
use virshle_testkit::{Frame, GuestNic, NetNamespace, OpenVswitch};
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, networked, networked_as, networked_config, patient};

/// What the switch knows of a column of the port or interface `name`.
fn column(ovs: &OpenVswitch, table: &str, name: &str, column: &str) -> String {
    ovs.vsctl(&["--if-exists", "get", table, name, column]).trim().to_owned()
}

/// The port of a machine's one interface.
fn port(vm: &virshle_core::Vm) -> &str {
    &vm.definition().nets[0].port
}

fn start(vm: &virshle_core::Vm) -> Result<Change, CoreError> {
    Ok(vm.start(&patient())?)
}

#[test_on(Ovs)]
fn ovs_init_creates_what_is_missing_and_may_run_again() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    ovs.vsctl(&["add-br", "vs0", "--", "set", "bridge", "vs0", "datapath_type=netdev"]);
    let text = format!("{}\n", networked_config(&ovs, "tap"))
        .replace("[network]", "[network]\nuplink = \"vs0\"");
    let lab = Lab::new(&text);
    let would = lab.node.init(InitMode::DryRun).unwrap();
    assert!(would.iter().all(|step| step.outcome == InitOutcome::Would), "{would:?}");
    assert!(!lab.path("root").exists());
    let made = lab.node.init(InitMode::Apply).unwrap();
    assert!(made.iter().all(|step| step.outcome == InitOutcome::Made), "{made:?}");
    let there = lab.node.init(InitMode::Apply).unwrap();
    assert!(there.iter().all(|step| step.outcome == InitOutcome::There), "{there:?}");
    assert_eq!(ovs.vsctl(&["list-br"]).lines().collect::<Vec<_>>(), ["br0", "vs0"]);
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_tap_machine_has_a_port_while_it_runs_and_leaves_nothing() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vm = lab.create("xs");
    start(&vm).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(vm.state(), VmState::Running);
    assert!(column(&ovs, "Interface", port(&vm), "ofport").parse::<u32>().unwrap() > 0);
    assert_eq!(column(&ovs, "Port", port(&vm), "tag"), "12");
    let mark = column(&ovs, "Interface", port(&vm), "external_ids");
    assert!(mark.contains(&vm.definition().uuid.to_string()), "{mark}");
    assert!(mark.contains(&vm.definition().nets[0].mac.to_string()), "{mark}");
    lab.assert_no_orphans();
    vm.stop(&StopRequest::force()).unwrap();
    assert_eq!(ovs.vsctl(&["list-ports", "br0"]), "");
    assert!(!std::path::Path::new("/proc/self/net/dev_snmp6").join(port(&vm)).exists());
    vm.remove(Force::No).unwrap();
    lab.assert_no_orphans();
}

/// Regression: a guest spoke to the host's kernel on its tap, and its port was a trunk of every VLAN.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_guest_reaches_its_bridge_and_nothing_of_the_host() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked_as(&ovs, "tap", "");
    let vms = [lab.create("xs"), lab.create("xs")];
    for vm in &vms {
        start(vm).unwrap_or_else(|error| panic!("{error:?}"));
    }
    let [one, two] = [&vms[0], &vms[1]].map(|vm| {
        let port = port(vm);
        let name = port.parse().unwrap();
        assert_eq!(virshle_core::net::Device::isolation_lapses(&name).unwrap(), [""; 0]);
        assert_eq!(column(&ovs, "Port", port, "vlan_mode"), "access");
        GuestNic::of_vmm(vm.info().pid.unwrap(), port).unwrap()
    });
    assert_eq!(virshle_core::net::Device::router_lapses(&"br0".parse().unwrap()).unwrap(), [""; 0]);
    let mac = vms[0].definition().nets[0].mac.bytes();
    let asks = |target: &str| {
        Frame::arp_request(mac, "192.0.2.1".parse().unwrap(), target.parse().unwrap())
    };
    one.send(&asks("192.0.2.2").tagged(12));
    one.send(&asks("192.0.2.3"));
    let frames = two.receive_until(|frame| frame[41] == 3);
    assert_eq!(frames.len(), 1, "{frames:?}");
}

/// Regression: the first machine of a host that was never set up did not start.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_start_on_a_host_that_was_never_set_up_creates_the_bridge() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    ovs.vsctl(&["add-br", "vs0", "--", "set", "bridge", "vs0", "datapath_type=netdev"]);
    let text = networked_config(&ovs, "tap").replace("[network]", "[network]\nuplink = \"vs0\"");
    let lab = Lab::new(&text);
    let vm = lab.create("xs");
    start(&vm).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(vm.state(), VmState::Running);
    let steps = lab.node.init(InitMode::DryRun).unwrap();
    assert!(steps.iter().all(|step| step.outcome == InitOutcome::There), "{steps:?}");
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

/// Regression: the hint for a tap that was deleted was to let /proc/sys be written (#12).
#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_running_machine_whose_tap_is_gone_needs_a_restart() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vm = lab.create("xs");
    start(&vm).unwrap();
    let deleted = std::process::Command::new("ip").args(["link", "del", port(&vm)]).status();
    assert!(deleted.unwrap().success());
    assert!(lab.node.check().unwrap().disconnected[0].to_string().contains("is gone"));
    let error = start(&vm).unwrap_err();
    assert_eq!(error.code(), "tap-gone", "{error:?}");
    assert!(error.hint().unwrap().contains("restart"), "{error:?}");
    vm.restart(&StopRequest::force(), &patient()).unwrap();
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);
    vm.stop(&StopRequest::force()).unwrap();
}

/// Regression: a running machine whose port was gone stayed without its network, and nothing found it.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_running_machine_gets_back_what_it_has_lost() {
    let _namespace = NetNamespace::enter().unwrap();
    let mut ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vm = lab.create("xs");
    start(&vm).unwrap_or_else(|error| panic!("{error:?}"));
    let pid = vm.info().pid;
    assert_eq!(repaired(&lab), "");
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);

    ovs.vsctl(&["del-port", port(&vm)]);
    assert!(repaired(&lab).ends_with(&format!(": port {} is missing on bridge br0", port(&vm))));
    assert_eq!(column(&ovs, "Port", port(&vm), "tag"), "12");
    ovs.vsctl(&["del-port", port(&vm)]);
    assert_eq!(start(&vm).unwrap(), Change::Reconnected);
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);

    // As a version before this one left it.
    ovs.vsctl(&["clear", "Port", port(&vm), "tag", "vlan_mode"]);
    let what = repaired(&lab);
    let trunk = format!(": port {} is a trunk of every VLAN, not VLAN 12", port(&vm));
    assert!(what.ends_with(&trunk), "{what}");
    let setting = format!("/proc/sys/net/ipv4/conf/{}/arp_ignore", port(&vm));
    std::fs::write(setting, "0").unwrap();
    let what = repaired(&lab);
    let open = format!("tap {} is open to the host: ipv4 arp_ignore is 0", port(&vm));
    assert!(what.ends_with(&open), "{what}");

    ovs.lose_database();
    assert!(repaired(&lab).contains("is missing on bridge br0"));
    ovs.lose_database();
    assert_eq!(start(&vm).unwrap(), Change::Reconnected);
    assert_eq!(column(&ovs, "Port", port(&vm), "tag"), "12");
    assert_eq!((vm.state(), vm.info().pid), (VmState::Running, pid));
    lab.assert_no_orphans();
}

#[test_on(Dpdk, Ch, Kvm)]
fn dpdk_a_running_vhost_machine_gets_its_port_back() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::with_dpdk();
    let lab = networked(&ovs, "vhost");
    let vm = lab.create("xs");
    start(&vm).unwrap_or_else(|error| panic!("{error:?}"));
    ovs.vsctl(&["del-port", port(&vm)]);
    assert_eq!(start(&vm).unwrap(), Change::Reconnected);
    // The switch connects as soon as cloud-hypervisor listens again: its device does so once the
    // guest has a driver for it, which this guest has not.
    assert!(column(&ovs, "Interface", port(&vm), "ofport").parse::<u32>().unwrap() > 0);
    assert_eq!(vm.state(), VmState::Running);
}

/// Regression: the start waited for a link that only the guest's driver brings (a679090).
#[test_on(Dpdk, Ch, Kvm)]
fn dpdk_a_vhost_machine_is_connected_while_it_runs_and_leaves_nothing() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::with_dpdk();
    let lab = networked(&ovs, "vhost");
    let vm = lab.create("xs");
    start(&vm).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(vm.state(), VmState::Running);
    assert!(column(&ovs, "Interface", port(&vm), "ofport").parse::<u32>().unwrap() > 0);
    assert!(guard_flows(&ovs) > 10);
    // The link comes up with the guest's driver, which this guest has not; the connection is there.
    let log = ovs.vswitchd_log();
    assert!(log.contains("new device, handle is"), "{log}");
    lab.assert_no_orphans();
    vm.remove(Force::Yes).unwrap();
    assert_eq!(ovs.vsctl(&["list-ports", "br0"]), "");
    lab.assert_no_orphans();
}

#[test_on(Ovs, Kvm)]
fn ovs_a_switch_that_cannot_fails_before_anything_is_started() {
    let _namespace = NetNamespace::enter().unwrap();
    let mut ovs = OpenVswitch::start();
    let lab = networked(&ovs, "vhost");
    let vm = lab.create("xs");
    // Without DPDK there are no vhost-user ports.
    let error = start(&vm).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Host, "{error:?}");
    assert!(error.hint().unwrap().contains("dpdk"), "{:?}", error.hint());
    ovs.kill_ovsdb();
    let error = start(&vm).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Host, "{error:?}");
    assert!(!vm.directory().join("ch.log").exists());
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_dead_vswitchd_fails_the_start_within_its_deadline() {
    let _namespace = NetNamespace::enter().unwrap();
    let mut ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vm = lab.create("xs");
    ovs.kill_vswitchd();
    let mut options = StartOptions::default();
    options.answer_timeout = std::time::Duration::from_secs(2);
    let error = CoreError::from(vm.start(&options).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Host, "{error:?}");
    assert_eq!(vm.state(), VmState::Stopped);
    ovs.start_vswitchd();
    assert_eq!(ovs.vsctl(&["list-ports", "br0"]), "");
    start(&vm).unwrap();
    assert_eq!(vm.state(), VmState::Running);
}

/// Regression: it cost the check 20 s and all its other findings (8000759).
#[test_on(Ovs)]
fn ovs_a_silent_database_is_one_finding_and_hides_no_other() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    lab.create("xs");
    ovs.freeze_ovsdb();
    let check = lab.node.check();
    ovs.thaw_ovsdb();
    let check = check.unwrap();
    let level = |subject: &str| {
        check.findings.iter().find(|finding| finding.subject == subject).map(|found| found.level)
    };
    assert_eq!(level("ovsdb"), Some(Level::Missing), "{:?}", check.findings);
    assert_eq!(level("root"), Some(Level::Good), "{:?}", check.findings);
    assert_eq!(level("bridge"), None, "{:?}", check.findings);
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_orphaned_ports_are_found_and_removed_and_foreign_ones_left() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vm = lab.create("xs");
    start(&vm).unwrap();
    ovs.vsctl(&["add-port", "br0", "mine", "--", "set", "interface", "mine", "type=internal"]);
    let program = vm.node().config().hypervisor.program.clone();
    let vmm = virshle_core::hypervisor::Vmm::find(&vm.api_socket(), &program).unwrap();
    let vmm = vmm.unwrap();
    vmm.kill().unwrap();
    assert!(vmm.wait_exit(std::time::Duration::from_secs(120)));
    let orphans = lab.node.check().unwrap().orphans;
    assert!(orphans.iter().any(|orphan| orphan.what.contains(port(&vm))), "{orphans:?}");
    for (orphan, result) in lab.node.repair(orphans) {
        result.unwrap_or_else(|error| panic!("{orphan}: {error:?}"));
    }
    lab.assert_no_orphans();
    assert_eq!(ovs.vsctl(&["list-ports", "br0"]).trim(), "mine");
}

/// Regression: the second machine 3 of a host did not start, for its tap had the name of the first's.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_machines_of_two_nodes_start_beside_each_other() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let labs = [networked(&ovs, "tap"), networked(&ovs, "tap")];
    let vms = [labs[0].create("xs"), labs[1].create("xs")];
    for vm in &vms {
        assert_eq!(vm.definition().id, 1);
        start(vm).unwrap_or_else(|error| panic!("{error:?}"));
    }
    labs.iter().for_each(Lab::assert_no_orphans);
}

/// The flows of ours that the bridge has.
fn guard_flows(ovs: &OpenVswitch) -> usize {
    ovs.appctl(&["bridge/dump-flows", "br0"]).matches("reg15=0").count()
}

/// Regression: a guest was any other guest, for one forged ARP reply.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_guest_speaks_for_itself_alone_unless_it_is_trusted() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let address = "192.0.2.7".parse().unwrap();
    for (keys, guarded) in
        [("address = \"192.0.2.7/24\"", true), ("address = \"192.0.2.7/24\"\ntrust = true", false)]
    {
        let lab = networked_as(&ovs, "tap", keys);
        let text = networked_config(&ovs, "tap").replace("vlan = 12", "");
        let vms = [lab.create("xs"), {
            let mut made =
                lab.reconfigured(&text).create(&CreateRequest::new("xs"), &|_| {}).unwrap();
            made.remove(0).result.unwrap()
        }];
        // Together: their ports are asked for in one transaction.
        for result in virshle_core::start_many(&vms, &patient(), |_, result| result) {
            result.unwrap_or_else(|error| panic!("{error:?}"));
        }
        let nic =
            |vm: &virshle_core::Vm| GuestNic::of_vmm(vm.info().pid.unwrap(), port(vm)).unwrap();
        let [one, two] = [nic(&vms[0]), nic(&vms[1])];
        let mac = vms[0].definition().nets[0].mac.bytes();
        let forged = Frame::arp_reply(mac, "192.0.2.8".parse().unwrap());
        let marker = Frame::arp_request(mac, address, "192.0.2.99".parse().unwrap());
        one.send(&forged);
        one.send(&marker);
        let heard = two.receive_until(|frame| frame[..] == marker.bytes()[..]);
        assert_eq!(heard.contains(&forged.bytes()), !guarded, "{keys}");
        lab.assert_no_orphans();
        for vm in &vms {
            vm.remove(Force::Yes).unwrap();
        }
        assert_eq!(guard_flows(&ovs), 0);
        lab.assert_no_orphans();
    }
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_guard_comes_back_after_the_switch_and_goes_with_its_port() {
    let _namespace = NetNamespace::enter().unwrap();
    let mut ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vm = lab.create("xs");
    start(&vm).unwrap_or_else(|error| panic!("{error:?}"));
    let flows = guard_flows(&ovs);
    assert!(flows > 10, "{flows}");

    ovs.restart_vswitchd();
    let what = repaired(&lab);
    assert!(what.ends_with(&format!(": port {} is not guarded", port(&vm))), "{what}");
    assert_eq!(guard_flows(&ovs), flows);
    ovs.restart_vswitchd();
    assert_eq!(start(&vm).unwrap(), Change::Reconnected);
    assert_eq!(guard_flows(&ovs), flows);
    ovs.lose_database();
    repaired(&lab);
    assert_eq!(guard_flows(&ovs), flows);
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);

    // A guest that has ended, and whose port was deleted by hand.
    ovs.vsctl(&["del-port", port(&vm)]);
    let program = vm.node().config().hypervisor.program.clone();
    let vmm = virshle_core::hypervisor::Vmm::find(&vm.api_socket(), &program).unwrap().unwrap();
    vmm.kill().unwrap();
    assert!(vmm.wait_exit(std::time::Duration::from_secs(120)));
    let orphans = lab.node.check().unwrap().orphans;
    let guard = orphans.iter().find(|orphan| orphan.kind == virshle_core::OrphanKind::Guard);
    assert!(guard.is_some(), "{orphans:?}");
    for (orphan, result) in lab.node.repair(orphans) {
        result.unwrap_or_else(|error| panic!("{orphan}: {error:?}"));
    }
    assert_eq!(guard_flows(&ovs), 0);
    lab.assert_no_orphans();
}

/// Regression: of a hundred first connections of the switch 19 were refused, and tried again a second
/// later: the socket was there, and did not listen yet.
#[test_on(Dpdk, Ch, Kvm)]
fn dpdk_the_first_connection_of_the_switch_succeeds() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::with_dpdk();
    let lab = networked(&ovs, "vhost");
    let vm = lab.create("xs");
    for _ in 0..20 {
        start(&vm).unwrap_or_else(|error| panic!("{error:?}"));
        vm.stop(&StopRequest::force()).unwrap();
    }
    let log = ovs.vswitchd_log();
    assert!(!log.contains("Connection refused"), "{log}");
}
