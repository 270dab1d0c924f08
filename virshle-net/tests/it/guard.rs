//! What a guarded machine can't say, in frames written to its tap.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use virshle_net::{Guard, GuardId, Guards, MacAddr};
use virshle_testkit::Frame;
use virshle_testkit_macros::test_on;

use crate::frames::Machine;
use crate::speech::{FORGED, GLOBAL, Speaker, forged, genuine, names, of_another, passed, v4};
use crate::{Lab, PATIENCE, speech};

fn guards(lab: &Lab) -> Guards {
    Guards::connect(&lab.ovs.address().parse().unwrap(), "br0", PATIENCE).unwrap()
}

fn id(machine: &Machine) -> GuardId {
    GuardId::of("6a6f1bc4-3c26-4a0e-a4a5-6a5d1c4e9c01", &machine.port.name)
}

fn guard(machine: &Machine) -> Guard {
    Guard::new(id(machine), machine.port.ofport, MacAddr::new(machine.mac))
}

/// Waits until what the switch remembers of flows before is gone.
fn settle(lab: &Lab) {
    lab.ovs.appctl(&["revalidator/wait"]);
}

/// Regression: a machine was any other machine: one forged ARP reply led an ssh of one to another.
#[test_on(Ovs)]
fn ovs_a_guarded_machine_speaks_for_itself_alone() {
    let mut lab = Lab::new().bridged();
    let [one, two] = [1, 2].map(|number| Machine::new(&mut lab, number, |port| port));
    // Without a guard all of it passes: these frames are what they are taken for.
    let all = [genuine(&one), forged(&one), of_another(&one)].concat();
    assert_eq!(passed(&one, &two, &all), names(&all));

    let mut guards = guards(&lab);
    guards.apply(&[guard(&one)]).unwrap();
    settle(&lab);
    let unknown = [genuine(&one), of_another(&one)].concat();
    assert_eq!(passed(&one, &two, &unknown), names(&unknown));
    assert_eq!(passed(&one, &two, &forged(&one)), [""; 0]);

    let addresses = [IpAddr::V4(one.ip), IpAddr::V6(GLOBAL)];
    let known = guard(&one).addresses(addresses);
    guards.apply(std::slice::from_ref(&known)).unwrap();
    settle(&lab);
    assert_eq!(passed(&one, &two, &genuine(&one)), names(&genuine(&one)));
    let forgeries = [forged(&one), of_another(&one)].concat();
    assert_eq!(passed(&one, &two, &forgeries), [""; 0]);
    // The other machine has no guard, and no harm.
    assert_eq!(passed(&two, &one, &forged(&two)), names(&forged(&two)));

    let listed = guards.list().unwrap();
    assert_eq!(listed.keys().collect::<Vec<_>>(), [&id(&one)]);
    let state = &listed[&id(&one)];
    assert_eq!(guards.find(id(&one)).unwrap().unwrap().flows, state.flows);
    assert_eq!(guards.find(id(&two)).unwrap(), None);
    assert!(known.is(Some(state)) && !guard(&one).is(Some(state)), "{state:?}");
    // The switch counts late, and keeps the counters of a flow that is replaced by its like.
    let expected = u64::try_from(forgeries.len()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while guards.list().unwrap()[&id(&one)].dropped_packets < expected {
        assert!(Instant::now() < deadline, "{}", flows(&lab));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    guards.remove(&[id(&one), id(&two)]).unwrap();
    assert!(guards.list().unwrap().is_empty());
    settle(&lab);
    assert_eq!(passed(&one, &two, &all), names(&all));
}

/// How many frames of 400 come through, asked for in small batches that no buffer is too small for.
fn large_frames_of_400(from: &Machine, to: &Machine) -> usize {
    let large = Frame::udp4(from.mac, (from.ip, 1), (v4(9), 2), &[7; 1400]);
    to.nic.received();
    let mut passed = 0;
    for _ in 0..20 {
        (0..20).for_each(|_| from.nic.send(&large));
        from.nic.send(&from.marked(98));
        let marker = from.marked(98);
        let heard = to.nic.receive_until(|frame| frame[..] == marker.bytes()[..]);
        passed += heard.iter().filter(|frame| frame.len() > 1400).count();
    }
    passed
}

/// 400 frames are 4.6 Mbit, of which 1.3 may come at once.
#[test_on(Ovs)]
fn ovs_a_machine_sends_no_more_than_its_rate() {
    let mut lab = Lab::new().bridged();
    let [one, two] = [1, 2].map(|number| Machine::new(&mut lab, number, |port| port));
    assert!(large_frames_of_400(&one, &two) > 300);
    let mut guards = guards(&lab);
    for rated in
        [guard(&one).rate_bits(Some(64_000)), guard(&one).rate_bits(Some(64_000)).trusted(true)]
    {
        guards.apply(std::slice::from_ref(&rated)).unwrap();
        settle(&lab);
        let passed = large_frames_of_400(&one, &two);
        assert!((50..250).contains(&passed), "{passed}");
        let state = guards.find(id(&one)).unwrap();
        assert!(rated.is(state.as_ref()), "{state:?}");
        assert!(!rated.clone().rate_bits(Some(65_000)).is(state.as_ref()));
        assert!(!guard(&one).is(state.as_ref()));
        // ARP is not counted, and forgeries are dropped unless it is trusted.
        let all = [genuine(&one), forged(&one)].concat();
        guards.apply(&[rated.clone().rate_bits(Some(1_000_000_000))]).unwrap();
        settle(&lab);
        let heard = speech::passed(&one, &two, &all);
        let is_trusted = heard.len() == all.len();
        assert!(is_trusted || heard == names(&genuine(&one)), "{heard:?}");
    }
    guards.remove(&[id(&one)]).unwrap();
    settle(&lab);
    assert!(large_frames_of_400(&one, &two) > 300);
    assert!(guards.list().unwrap().is_empty());
}

fn flows(lab: &Lab) -> String {
    lab.ovs.appctl(&["bridge/dump-flows", "br0"])
}

/// A bridge of the user's, with flows of its own: they have their say on all that the guard lets pass,
/// and stay when it goes.
#[test_on(Ovs)]
fn ovs_a_guard_leaves_the_flows_of_others_in_force() {
    let mut lab = Lab::new().bridged();
    let [one, two] = [1, 2].map(|number| Machine::new(&mut lab, number, |port| port));
    let ofctl = |words: &[&str]| {
        let socket = Guards::socket(&lab.ovs.address().parse().unwrap(), "br0");
        let target = format!("unix:{}", socket.display());
        let output = std::process::Command::new("ovs-ofctl")
            .args(["-O", "OpenFlow14", words[0], &target])
            .args(&words[1..])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    ofctl(&["add-flow", "cookie=0x7653,priority=100,udp,tp_dst=2,actions=drop"]);
    guards(&lab).apply(&[guard(&one)]).unwrap();
    settle(&lab);
    let udp = |port| Frame::udp4(one.mac, (one.ip, 1), (v4(9), port), b"x");
    let frames = [("to 2", udp(2)), ("to 3", udp(3))];
    assert_eq!(passed(&one, &two, &frames), ["to 3"]);
    guards(&lab).remove(&[id(&one)]).unwrap();
    settle(&lab);
    let left = ofctl(&["dump-flows"]);
    assert!(left.contains("udp,tp_dst=2 actions=drop"), "{left}");
    assert_eq!(left.matches("cookie=").count(), 2, "{left}");
    assert_eq!(passed(&one, &two, &frames), ["to 3"]);
}

#[test_on(Ovs)]
fn ovs_a_bundle_with_one_flow_that_is_refused_changes_nothing() {
    use virshle_net::NetError;
    use virshle_net::openflow::{Client, Flow, Match};
    let lab = Lab::new().bridged();
    let socket = Guards::socket(&lab.ovs.address().parse().unwrap(), "br0");
    let mut client = Client::connect(&socket, PATIENCE).unwrap();
    let cookie = 0x7653 << 48;
    let fine = Flow::drop(cookie, 1, Match::any().in_port(1));
    // A field without the one that it needs.
    let broken = Flow::drop(cookie, 1, Match::any().nd_tll(MacAddr::new(FORGED)));
    let error = client.replace(&[], u64::MAX, &[fine.clone(), broken]).unwrap_err();
    assert!(matches!(error, NetError::OpenFlowRefused { .. }), "{error:?}");
    let mut client = Client::connect(&socket, PATIENCE).unwrap();
    assert_eq!(client.flows(cookie, u64::MAX).unwrap(), []);
    client.replace(&[], u64::MAX, &[fine]).unwrap();
    assert_eq!(client.flows(cookie, u64::MAX).unwrap().len(), 1);
    lab.ovs.vsctl(&["set", "bridge", "br0", "protocols=OpenFlow13"]);
    let error = Client::connect(&socket, PATIENCE).unwrap_err();
    assert!(error.hint().unwrap().contains("protocols"), "{error:?}");
}

/// 500 ports: what one guard costs doesn't grow with what is there beyond reason.
#[test_on(Ovs)]
fn ovs_five_hundred_ports_are_guarded() {
    let lab = Lab::new().bridged();
    let mut guards = guards(&lab);
    let guard = |number: u32| {
        let [.., high, low] = number.to_be_bytes();
        let mac = [0x52, 0x54, 1, 0, high, low];
        let id = GuardId::of("u", &format!("port{number}"));
        let ip = Ipv4Addr::from(0x0a00_0000 + number);
        Guard::new(id, number, MacAddr::new(mac)).addresses([ip.into()])
    };
    for number in 1..=500 {
        guards.apply(&[guard(number)]).unwrap();
    }
    let mut times = Vec::new();
    for number in 501..=520 {
        let start = Instant::now();
        let mut guards =
            Guards::connect(&lab.ovs.address().parse().unwrap(), "br0", PATIENCE).unwrap();
        guards.apply(&[guard(number)]).unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    println!("one guard beside 500: median {:?}, most {:?}", times[10], times[19]);
    let start = Instant::now();
    let listed = guards.list().unwrap();
    println!("listing: {:?}", start.elapsed());
    assert_eq!(listed.len(), 520);
    assert!((1..=520).all(|number| guard(number).is(listed.get(&GuardId::of("u", &format!("port{number}"))))));
}
