//! What a database server says, and a switch.

use std::sync::OnceLock;
use std::time::Duration;

use virshle_net::openflow::MessageReader;
use virshle_net::ovsdb::{Address, Client, MonitorRequest, Operation};
use virshle_net::{
    Control, FrameTerm, FrameWords, Guards, MacAddr, Switch, Trace, TraceContent, TracePacket,
};

use crate::answering_machine::AnsweringMachine;

/// No deadline is meant to pass: the other side always hangs up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream of OVSDB, as the client reads it, and as the switch that is behind it understands it.
pub fn ovsdb(bytes: &[u8]) {
    static SERVER: OnceLock<AnsweringMachine> = OnceLock::new();
    let server = SERVER.get_or_init(AnsweringMachine::start);
    server.set_answer(bytes);
    let address: Address = format!("unix:{}", server.socket().display()).parse().unwrap();
    let mut client = Client::connect(&address, PATIENCE).unwrap();
    let whole = MonitorRequest::new(&["name", "cur_cfg"]);
    let select = [Operation::select("Port", &[], &["name"]), Operation::comment("")];
    drop(client.list_dbs());
    drop(client.transact("Open_vSwitch", &select));
    drop(client.monitor("Open_vSwitch", "m", [("Open_vSwitch", whole)]));
    while let Ok(Some(_)) = client.next_update(Duration::ZERO) {}
    drop(client);

    if let Ok(mut switch) = Switch::connect(&address, PATIENCE) {
        drop(switch.capabilities());
        drop(switch.bridge("br0"));
        drop(switch.owned_ports());
    }
}

/// A stream of OpenFlow, as the client hears it.
pub fn openflow(bytes: &[u8]) {
    let mut reader = MessageReader::new();
    let mut read = 0;
    for part in bytes.chunks(7) {
        reader.push(part);
        while let Ok(Some(message)) = reader.next_message() {
            read += message.body.len() + 8;
        }
    }
    assert!(read <= bytes.len());

    static SERVER: OnceLock<AnsweringMachine> = OnceLock::new();
    let server = SERVER.get_or_init(AnsweringMachine::start);
    server.set_answer(bytes);
    // The management socket is beside the database's.
    let name = server.socket().file_name().unwrap().to_string_lossy().into_owned();
    let database: Address = format!("unix:{}", server.socket().display()).parse().unwrap();
    let bridge = name.trim_end_matches(".mgmt");
    if let Ok(mut guards) = Guards::connect(&database, bridge, PATIENCE) {
        drop(guards.list());
        drop(guards.apply(&[]));
    }
}

/// What answers at the control socket of `ovs-vswitchd`, and the traces that it prints.
pub fn control(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let trace: Trace = text.parse().unwrap();
    assert!(trace.steps.len() <= text.lines().count());

    static SERVER: OnceLock<AnsweringMachine> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let server = AnsweringMachine::start();
        // The control socket is beside the database's.
        let control = server.socket().with_file_name("ovs-vswitchd.ctl");
        std::os::unix::fs::symlink(server.socket(), control).unwrap();
        server
    });
    server.set_answer(bytes);
    let database: Address = format!("unix:{}", server.socket().display()).parse().unwrap();
    let mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
    let packet = TracePacket::new("p", mac, mac, TraceContent::Frame);
    if let Ok(mut control) = Control::connect(&database, PATIENCE) {
        drop(control.trace("br0", &packet));
        drop(control.call("version", &[]));
    }
}

/// A frame of a guest, shown and filtered; the first line is the filter.
pub fn frame(bytes: &[u8]) {
    let (filter, frame) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (&b""[..], bytes),
    };
    let terms = FrameTerm::read_all([String::from_utf8_lossy(filter).as_ref()]);
    if let Some(words) = FrameWords::read(frame) {
        // What is printed is the terminal's as it stands.
        assert!(words.to_string().chars().all(|character| !character.is_control()));
        for term in terms.unwrap_or_default() {
            term.fits(&words);
        }
    }
}
