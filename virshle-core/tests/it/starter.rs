//! Many machines started together, on real Open vSwitch and real cloud-hypervisor.

use std::time::Duration;

use virshle_core::net::NetError;
use virshle_core::{
    Change, CoreError, CreateRequest, HardwareError, StartOptions, StopRequest, Vm, VmState,
    start_many,
};
use virshle_testkit::{NetNamespace, OpenVswitch};
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, networked, patient};

/// More than are made ready at once.
const COUNT: u32 = 20;

fn create(lab: &Lab, count: u32) -> Vec<Vm> {
    let request = CreateRequest::new("xs").count(count);
    lab.node
        .create(&request, &|_| {})
        .unwrap()
        .into_iter()
        .map(|created| created.result.unwrap())
        .collect()
}

fn start_all(vms: &[Vm], options: &StartOptions) -> Vec<Result<Change, CoreError>> {
    start_many(vms, options, |_, result| result.map_err(CoreError::from))
}

fn ports(ovs: &OpenVswitch) -> Vec<String> {
    ovs.vsctl(&["list-ports", "br0"]).lines().map(str::to_owned).collect()
}

fn next_cfg(ovs: &OpenVswitch) -> u64 {
    ovs.vsctl(&["get", "Open_vSwitch", ".", "next_cfg"]).trim().parse().unwrap()
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_machines_that_start_together_ask_the_switch_together() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vms = create(&lab, COUNT);
    // One runs already: it goes its own way.
    vms[4].start(&patient()).unwrap();
    let before = next_cfg(&ovs);
    let results = start_all(&vms, &patient());
    for (index, result) in results.into_iter().enumerate() {
        let expected = if index == 4 { Change::Unchanged } else { Change::Done };
        assert_eq!(result.unwrap_or_else(|error| panic!("{error:?}")), expected, "{index}");
        assert_eq!(vms[index].state(), VmState::Running, "{index}");
    }
    assert_eq!(next_cfg(&ovs) - before, 2, "one transaction for 15 machines, and one for 4");
    assert_eq!(ports(&ovs).len(), vms.len());
    lab.assert_no_orphans();
    for vm in &vms {
        let port = &vm.definition().nets[0].port;
        let number = ovs.vsctl(&["get", "Interface", port, "ofport"]);
        assert!(number.trim().parse::<u32>().unwrap() > 0, "{port}: {number}");
        vm.stop(&StopRequest::force()).unwrap();
    }
    assert_eq!(ports(&ovs), [""; 0]);
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_one_that_fails_keeps_no_other_from_starting() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vms = create(&lab, 5);
    let port = |index: usize| vms[index].definition().nets[0].port.as_str();
    // A name that another owner has in the database, without a device of that name.
    ovs.vsctl(&[
        "--no-wait",
        "add-port",
        "br0",
        port(1),
        "--",
        "set",
        "interface",
        port(1),
        "type=patch",
        "options:peer=nowhere",
    ]);
    // And one that has a device of that name, too.
    let internal = "type=internal";
    ovs.vsctl(&["add-port", "br0", port(3), "--", "set", "interface", port(3), internal]);
    let results = start_all(&vms, &patient());
    for (index, (vm, result)) in vms.iter().zip(results).enumerate() {
        match index {
            1 => {
                let error = result.unwrap_err();
                let CoreError::Hardware(HardwareError::Network {
                    source: NetError::PortTaken { port, .. },
                    ..
                }) = &error
                else {
                    panic!("{error:?}")
                };
                assert_eq!(*port, vm.definition().nets[0].port);
                assert_eq!(vm.state(), VmState::Stopped);
            }
            3 => {
                let error = result.unwrap_err();
                let CoreError::Hardware(HardwareError::Network {
                    source: NetError::CreateTap { .. },
                    ..
                }) = &error
                else {
                    panic!("{error:?}")
                };
                assert_eq!(vm.state(), VmState::Stopped);
            }
            _ => {
                result.unwrap_or_else(|error| panic!("{index}: {error:?}"));
                assert_eq!(vm.state(), VmState::Running, "{index}");
            }
        }
    }
    lab.assert_no_orphans();
    assert_eq!(ports(&ovs), [0, 1, 2, 3, 4].map(port));
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_dead_vswitchd_is_waited_for_once() {
    let _namespace = NetNamespace::enter().unwrap();
    let mut ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vms = create(&lab, 3);
    let before = next_cfg(&ovs);
    ovs.kill_vswitchd();
    let mut options = StartOptions::default();
    options.answer_timeout = Duration::from_secs(2);
    for (vm, result) in vms.iter().zip(start_all(&vms, &options)) {
        let error = result.unwrap_err();
        let CoreError::Hardware(HardwareError::Network {
            source: NetError::SwitchSilent { awaited, .. },
            ..
        }) = &error
        else {
            panic!("{error:?}")
        };
        assert!(awaited.contains(&vm.definition().nets[0].port), "{awaited}");
        assert_eq!(vm.state(), VmState::Stopped);
    }
    assert_eq!(next_cfg(&ovs) - before, 2, "one transaction that asks, and one that takes it back");
    ovs.start_vswitchd();
    assert_eq!(ports(&ovs), [""; 0]);
    lab.assert_no_orphans();
}

/// Regression: machines that ran already had all the others prepared, and locked, at once (0d08180).
#[test_on(Ovs, Ch, Kvm)]
fn ovs_no_more_are_prepared_than_start_soon() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked(&ovs, "tap");
    let vms = create(&lab, 40);
    for vm in &vms[..3] {
        vm.start(&patient()).unwrap();
    }
    // Those whose turn has come: 16 that are being started, and 16 that are prepared for it.
    const SOON: usize = 32;
    let done = std::sync::Mutex::new(0);
    let results = start_many(&vms, &patient(), |_, result| {
        let mut done = done.lock().unwrap();
        let ports = ports(&ovs).len();
        assert!(ports <= 3 + *done + SOON, "{ports} ports, {done} machines done");
        *done += 1;
        result
    });
    for (place, result) in results.into_iter().enumerate() {
        let expected = if place < 3 { Change::Unchanged } else { Change::Done };
        assert_eq!(result.unwrap(), expected, "{place}");
    }
    assert_eq!(ports(&ovs).len(), 40);
    for vm in &vms {
        vm.stop(&StopRequest::force()).unwrap();
    }
    lab.assert_no_orphans();
}
