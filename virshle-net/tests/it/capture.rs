//! What passes a port of a real switch, copied.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use virshle_net::{Capture, FrameWords, NetError};
use virshle_testkit_macros::test_on;

use crate::frames::Machine;
use crate::speech::Speaker;
use crate::{Lab, PATIENCE};

const NODE: &str = "/var/lib/virshle-test";

/// Takes what is copied until a frame has gone by that asks for 192.0.2.`last`.
fn until(capture: &mut Capture, last: u8) -> Vec<String> {
    let begin = Instant::now();
    let mut seen = Vec::new();
    loop {
        assert!(begin.elapsed() < PATIENCE, "only these were copied: {seen:?}");
        while let Some(frame) = capture.next_frame().unwrap() {
            let words = FrameWords::read(frame).unwrap().to_string();
            let done = words.contains(&format!("who has 192.0.2.{last}?"));
            seen.push(words);
            if done {
                return seen;
            }
        }
        let mut readable = [PollFd::new(capture, PollFlags::IN)];
        poll(&mut readable, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).ok();
    }
}

/// What of captures is in the database.
fn rows(lab: &Lab) -> String {
    let mirrors = lab.ovs.vsctl(&["--bare", "--columns=name", "list", "Mirror"]);
    let ports = lab.ovs.vsctl(&["list-ports", "br0"]);
    let ports = ports.lines().filter(|port| port.starts_with("vcap")).collect::<String>();
    format!("{}{ports}", mirrors.trim())
}

#[test_on(Ovs)]
fn ovs_a_capture_has_what_a_machine_says_and_hears_and_leaves_nothing() {
    let mut lab = Lab::new().bridged();
    let [one, two, three] = [1, 2, 3].map(|number| Machine::new(&mut lab, number, |port| port));
    let name = "vcap1".parse().unwrap();
    let mut capture = lab.switch.capture("br0", "tap1", &name, NODE, PATIENCE).unwrap();
    one.nic.send(&one.marked(101));
    let seen = until(&mut capture, 101);
    assert!(seen.last().unwrap().contains("192.0.2.1 ("), "{seen:?}");
    two.nic.send(&two.marked(102));
    assert!(until(&mut capture, 102).last().unwrap().contains("192.0.2.2 ("));
    // Those it was for have them as well, and the tap of the copies is no port for anybody's frames.
    three.nic.receive_until(|frame| frame[..] == two.marked(102).bytes()[..]);
    assert!(lab.switch.owned_ports().unwrap().iter().all(|port| port.name != "vcap1"));
    assert_eq!(lab.switch.sweep_captures(NODE, PATIENCE).unwrap(), [""; 0]);

    // As a process that is killed leaves it.
    capture.end();
    assert_eq!(rows(&lab), "vcap1vcap1");
    assert_eq!(lab.switch.stale_captures("/another/node").unwrap(), [""; 0]);
    assert_eq!(lab.switch.stale_captures(NODE).unwrap(), ["vcap1"]);
    assert_eq!(lab.switch.sweep_captures(NODE, PATIENCE).unwrap(), ["vcap1"]);
    assert_eq!(rows(&lab), "");
    one.nic.send(&one.marked(103));
    two.nic.receive_until(|frame| frame[..] == one.marked(103).bytes()[..]);
}

#[test_on(Ovs)]
fn ovs_a_capture_of_no_port_changes_nothing() {
    let mut lab = Lab::new().bridged();
    let name = "vcap1".parse().unwrap();
    let error = lab.switch.capture("br0", "tap9", &name, NODE, PATIENCE).unwrap_err();
    assert!(matches!(error, NetError::NoPort { .. }), "{error:?}");
    assert!(virshle_net::Device::find(&name).unwrap().is_none());
    assert_eq!(rows(&lab), "");
}
