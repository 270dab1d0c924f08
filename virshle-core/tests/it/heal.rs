//! Running machines get their networks back when the switch was started anew, with frames that pass
//! before and after.

use std::time::{Duration, Instant};

use virshle_core::{GuardCondition, Healed, TraceRequest, TraceVerdict, Vm, VmState};
use virshle_testkit::{Frame, GuestNic, NetNamespace, OpenVswitch};
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, networked_as, patient};

/// How long a machine may be without its network once the switch runs again.
const BACK_IN: Duration = Duration::from_secs(5);

/// Two machines on one bridge, each with its place in the guest's role.
struct Pair {
    lab: Lab,
    vms: [Vm; 2],
    nics: [GuestNic; 2],
    ovs: OpenVswitch,
    _namespace: NetNamespace,
}

impl Pair {
    fn start() -> Self {
        let namespace = NetNamespace::enter().unwrap();
        let ovs = OpenVswitch::start();
        let lab = networked_as(&ovs, "tap", "");
        let vms = [lab.create("xs"), lab.create("xs")];
        for vm in &vms {
            vm.start(&patient()).unwrap_or_else(|error| panic!("{error:?}"));
        }
        let nics = [0, 1].map(|number| {
            let vm: &Vm = &vms[number];
            GuestNic::of_vmm(vm.info().pid.unwrap(), &vm.definition().nets[0].port).unwrap()
        });
        Self { lab, vms, nics, ovs, _namespace: namespace }
    }

    /// Sends one frame as the first machine's, and again until it has come to the second.
    #[track_caller]
    fn passes(&self, last: u8) {
        let mac = self.vms[0].definition().nets[0].mac.bytes();
        let target = std::net::Ipv4Addr::new(192, 0, 2, last);
        let frame = Frame::arp_request(mac, "192.0.2.1".parse().unwrap(), target);
        let begin = Instant::now();
        // What is sent while the switch is away is lost, as on any wire.
        while begin.elapsed() < BACK_IN {
            self.nics[0].send(&frame);
            let came = self.nics[1].received();
            if came.iter().any(|came| came[..] == frame.bytes()[..]) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("nothing passes after {BACK_IN:?}");
    }

    /// Heals, and what was put right.
    #[track_caller]
    fn healed(&self) -> String {
        let healed = self.lab.node.heal(None).unwrap();
        let missed = healed.into_iter().flat_map(|Healed { vm, missed, .. }| {
            missed.unwrap_or_else(|error| panic!("{vm}: {error:?}"))
        });
        missed.collect::<Vec<_>>().join("\n")
    }

    /// The guards of both, as `v net ls` shows them.
    fn guards(&self) -> Vec<GuardCondition> {
        let bridges = self.lab.node.networks().unwrap();
        let ports = bridges.into_iter().flat_map(|bridge| bridge.ports);
        ports.filter_map(|port| Some(port.guard?.state)).collect()
    }
}

/// Regression: after a restart of the switch the guards were gone until a repair, and after the loss of its
/// database the whole network.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_machines_have_their_network_back_when_the_switch_has() {
    let mut pair = Pair::start();
    let on = [GuardCondition::On; 2];
    let pids = [0, 1].map(|number: usize| pair.vms[number].info().pid);
    assert_eq!(pair.guards(), on);
    pair.passes(1);
    assert_eq!(pair.healed(), "");

    pair.ovs.restart_vswitchd();
    assert_eq!(pair.guards(), [GuardCondition::Missing; 2]);
    let healed = pair.healed();
    assert_eq!(healed.matches("is not guarded").count(), 2, "{healed}");
    pair.passes(2);
    assert_eq!(pair.guards(), on);

    pair.ovs.restart_ovsdb();
    pair.healed();
    pair.passes(3);

    pair.ovs.lose_database();
    let healed = pair.healed();
    assert_eq!(healed.matches("is missing on bridge br0").count(), 2, "{healed}");
    pair.passes(4);
    assert_eq!(pair.guards(), on);

    // Only what is gone is put right.
    pair.ovs.vsctl(&["del-port", &pair.vms[0].definition().nets[0].port]);
    let healed = pair.healed();
    assert_eq!(healed.lines().count(), 1, "{healed}");
    pair.passes(5);
    let only = pair.lab.node.heal(Some(pair.vms[1].uuid())).unwrap();
    assert_eq!(only.len(), 1);
    assert_eq!([0, 1].map(|number: usize| pair.vms[number].info().pid), pids);
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_machines_are_healed_as_soon_as_a_switch_that_is_away_is_there() {
    let mut pair = Pair::start();
    pair.ovs.kill_vswitchd();
    pair.ovs.kill_ovsdb();
    std::thread::scope(|scope| {
        let node = pair.lab.node.clone();
        let healing = scope.spawn(move || node.heal(None).map(|healed| healed.len()));
        pair.ovs.start_ovsdb();
        pair.ovs.start_vswitchd();
        assert_eq!(healing.join().unwrap().unwrap(), 2);
    });
    pair.passes(1);
    assert_eq!(pair.guards(), [GuardCondition::On; 2]);
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_trace_names_machines() {
    let pair = Pair::start();
    let [one, two] = [0, 1].map(|number: usize| pair.vms[number].name().as_str().to_owned());
    let trace = pair.lab.node.trace(&TraceRequest::new(&one, &two)).unwrap();
    assert_eq!(trace.verdict, TraceVerdict::Flooded, "{trace:?}");
    let ends: Vec<_> = trace.exits.iter().filter_map(|exit| exit.machine.as_deref()).collect();
    assert_eq!(ends, ["host", two.as_str()], "{trace:?}");
    assert_eq!(trace.steps[0], format!("the guard of {one} lets it pass"));
    let forged = TraceRequest::new(&one, &two).forged_mac("52:54:00:00:00:bb".parse().unwrap());
    let trace = pair.lab.node.trace(&forged).unwrap();
    assert_eq!(trace.verdict, TraceVerdict::Dropped, "{trace:?}");
    let dropped =
        format!("the guard of {one} drops it: its sender's MAC address is not the machine's");
    assert_eq!(trace.steps, [dropped]);

    let error = pair.lab.node.trace(&TraceRequest::new("nobody", &two)).unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
    let error = pair.lab.node.trace(&TraceRequest::new(&one, "192.0.2.200")).unwrap_err();
    assert!(error.to_string().contains("192.0.2.200"), "{error}");
    let stopped = pair.lab.create("xs");
    assert_eq!(stopped.state(), VmState::Stopped);
    let error = pair.lab.node.trace(&TraceRequest::new(stopped.name().as_str(), &two)).unwrap_err();
    assert!(error.to_string().contains("it is stopped"), "{error}");
}
