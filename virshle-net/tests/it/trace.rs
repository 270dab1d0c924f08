//! What a real switch would do with a packet, as it is asked by its control socket.

use virshle_net::{
    Control, Guard, GuardId, Guards, MacAddr, NetError, Trace, TraceContent, TracePacket,
};
use virshle_testkit_macros::test_on;

use crate::frames::Machine;
use crate::speech::Speaker;
use crate::{Lab, PATIENCE};

fn control(lab: &Lab) -> Control {
    Control::connect(&lab.ovs.address().parse().unwrap(), PATIENCE).unwrap()
}

fn ports(trace: &Trace) -> Vec<(&str, Option<u16>)> {
    trace.outputs.iter().map(|output| (output.port.as_str(), output.tag)).collect()
}

fn packet(from: &Machine, to: &Machine, content: TraceContent) -> TracePacket {
    TracePacket::new(&from.port.name, MacAddr::new(from.mac), MacAddr::new(to.mac), content)
}

#[test_on(Ovs)]
fn ovs_a_trace_shows_where_a_packet_would_go() {
    let mut lab = Lab::new().bridged();
    let one = Machine::new(&mut lab, 1, |port| port);
    let two = Machine::new(&mut lab, 2, |port| port);
    let three = Machine::new(&mut lab, 3, |port| port.vlan(12));
    let _trunk = Machine::new(&mut lab, 4, |port| port.trunk([12]));
    let mut control = control(&lab);
    let (a, b) = (one.ip.into(), two.ip.into());

    // Nothing is known of the receiver yet: to all of its VLAN, and to the host.
    let tcp = packet(&one, &two, TraceContent::Tcp(a, b, 80));
    let trace = control.trace("br0", &tcp).unwrap();
    assert_eq!(ports(&trace), [("br0", None), ("tap2", None)], "{trace:?}");
    let notes: Vec<&String> = trace.steps.iter().flat_map(|step| &step.notes).collect();
    assert!(notes.iter().any(|note| note.contains("no learned MAC")), "{notes:?}");
    let tagged = control.trace("br0", &packet(&three, &one, TraceContent::Frame)).unwrap();
    let to_trunk = ("tap4", Some(12));
    assert!(ports(&tagged).contains(&to_trunk), "{tagged:?}");
    assert!(!ports(&tagged).iter().any(|(port, _)| *port == "tap1"), "{tagged:?}");

    // Once it has spoken, to its port alone. The trace itself has taught the switch nothing.
    two.nic.send(&two.marked(99));
    one.nic.receive_until(|frame| frame[..] == two.marked(99).bytes()[..]);
    for content in [
        TraceContent::Frame,
        TraceContent::Arp(a),
        TraceContent::Ping(a, b),
        TraceContent::Udp(a, b, 53),
        TraceContent::Ping("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()),
        TraceContent::Tcp("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap(), 80),
    ] {
        let trace = control.trace("br0", &packet(&one, &two, content)).unwrap();
        assert_eq!(ports(&trace), [("tap2", None)], "{content:?}: {trace:?}");
    }

    // The guard's part in it.
    let id = GuardId::of("6a6f1bc4-3c26-4a0e-a4a5-6a5d1c4e9c01", &one.port.name);
    let guard = Guard::new(id, one.port.ofport, MacAddr::new(one.mac)).addresses([a]);
    Guards::connect(&lab.ovs.address().parse().unwrap(), "br0", PATIENCE)
        .and_then(|mut guards| guards.apply(&[guard]))
        .unwrap();
    let trace = control.trace("br0", &tcp).unwrap();
    assert_eq!(ports(&trace), [("tap2", None)]);
    assert!(trace.steps[0].is_guard() && !trace.steps[0].drops(), "{trace:?}");
    let forged = MacAddr::new([0x52, 0x54, 0, 0, 0, 0xbb]);
    let forgery =
        TracePacket::new(&one.port.name, forged, MacAddr::new(two.mac), TraceContent::Frame);
    let another = packet(&one, &two, TraceContent::Arp(b));
    for packet in [forgery, another] {
        let trace = control.trace("br0", &packet).unwrap();
        assert!(trace.outputs.is_empty(), "{trace:?}");
        assert!(trace.steps.iter().any(|step| step.is_guard() && step.drops()), "{trace:?}");
    }
    let ports = lab.switch.ports(PATIENCE).unwrap();
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["br0", "tap1", "tap2", "tap3", "tap4"]);
    assert!(ports[1].ofport == Some(one.port.ofport) && ports[0].owner.is_none(), "{ports:?}");
}

#[test_on(Ovs)]
fn ovs_what_the_control_socket_refuses_is_an_error_with_its_words() {
    let mut lab = Lab::new().bridged();
    let one = Machine::new(&mut lab, 1, |port| port);
    let mut control = control(&lab);
    let error = control.trace("br9", &packet(&one, &one, TraceContent::Frame)).unwrap_err();
    let NetError::ControlRefused { message, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("br9"), "{message}");
    let error = control.call("no/such", &["a"]).unwrap_err();
    assert!(error.to_string().contains("not a valid command"), "{error}");
    // The connection is as good as before.
    assert!(control.call("version", &[]).unwrap().contains("Open vSwitch"));
    lab.ovs.kill_vswitchd();
    let error = control.call("version", &[]).unwrap_err();
    assert!(matches!(error, NetError::Control { .. }), "{error:?}");
    let error = Control::connect(&lab.ovs.address().parse().unwrap(), PATIENCE).unwrap_err();
    assert!(error.hint().unwrap().contains("ovs-vswitchd"), "{error:?}");
}
