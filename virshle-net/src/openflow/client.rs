//! A connection to a bridge's management socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::NetError;
use crate::deadline::Deadline;
use crate::openflow::flow::encode_delete;
use crate::openflow::message::{VERSION, piece};
use crate::openflow::{Flow, FlowStats, Kind, Message, MessageReader, Meter};
use crate::ovsdb::{Address, Stream};

/// All of a bundle's messages, or none; in their order (7.3.9.4).
const ATOMIC_ORDERED: u16 = 3;
/// `OFPBCT_…`: what is asked of a bundle. Each answer is one more than its question.
const OPEN: u16 = 0;
const COMMIT: u16 = 4;
/// A connection's only bundle.
const BUNDLE: u32 = 1;
/// The most flows that are read: those of thirty thousand guards.
const MOST_FLOWS: usize = 1 << 20;
/// The versions that this client speaks (7.5.1): a bitmap of one.
const HELLO: [u8; 8] = [0, 1, 0, 8, 0, 0, 0, 1 << VERSION];

/// A connection to a bridge's management socket.
///
/// Every call ends at the deadline that the connection was given.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: Stream,
    reader: MessageReader,
    timeout: Duration,
    xid: u32,
}

impl Client {
    /// Connects to the management socket at `path`.
    ///
    /// # Errors
    ///
    /// [`NetError::Management`]; [`NetError::OpenFlowRefused`] where the bridge does not speak
    /// OpenFlow 1.4.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, NetError> {
        let deadline = Deadline::after(timeout);
        let stream = Stream::connect(&Address::Unix(path.into()), deadline)
            .map_err(failed(path, "connect to"))?;
        let reader = MessageReader::new();
        let mut client = Self { socket: path.into(), stream, reader, timeout, xid: 0 };
        client.send(Kind::Hello, HELLO.to_vec(), deadline)?;
        let hello = client.receive(deadline)?;
        if hello.kind != Kind::Hello {
            return Err(client.malformed(format!("{:?} before a hello", hello.kind)));
        }
        if !speaks_ours(&hello) {
            return Err(NetError::OpenFlowRefused { socket: path.into(), kind: 0, code: 0 });
        }
        Ok(client)
    }

    /// Deletes the flows whose cookie has one of the values `deleted` under `mask`, and adds `flows`:
    /// all of it, or nothing.
    ///
    /// # Errors
    ///
    /// [`NetError::OpenFlowRefused`], and nothing has changed; [`NetError::Management`]. After an
    /// error the connection is not to be used again: an unfinished bundle ends with it.
    #[doc(alias = "OFPT_BUNDLE_CONTROL")]
    pub fn replace(&mut self, deleted: &[u64], mask: u64, flows: &[Flow]) -> Result<(), NetError> {
        let deadline = Deadline::after(self.timeout);
        let mut bytes = Vec::new();
        let opened = self.control(OPEN, &mut bytes)?;
        let bodies = deleted
            .iter()
            .map(|value| encode_delete(*value, mask))
            .chain(flows.iter().map(Flow::encode));
        for body in bodies {
            let xid = self.next_xid();
            let inner = self.encode(&Message::new(Kind::FlowMod, xid, body))?;
            let mut body = BUNDLE.to_be_bytes().to_vec();
            body.extend([0, 0]);
            body.extend(ATOMIC_ORDERED.to_be_bytes());
            body.extend(inner);
            bytes.extend(self.encode(&Message::new(Kind::BundleAdd, xid, body))?);
        }
        // A message that is refused leaves a bundle of the others, which could be committed: that all
        // were taken has to be known before.
        let barrier = self.next_xid();
        bytes.extend(self.encode(&Message::new(Kind::BarrierRequest, barrier, Vec::new()))?);
        self.write(&bytes, deadline)?;
        self.expect(Kind::BundleControl, opened, Some(OPEN + 1), deadline)?;
        self.expect(Kind::BarrierReply, barrier, None, deadline)?;
        let mut bytes = Vec::new();
        let committed = self.control(COMMIT, &mut bytes)?;
        self.write(&bytes, deadline)?;
        self.expect(Kind::BundleControl, committed, Some(COMMIT + 1), deadline)
    }

    /// Adds meters, each in place of the one of its number, with which the flows that pass that one go:
    /// all of them before any flow can name them. A bundle can have none.
    ///
    /// # Errors
    ///
    /// [`NetError::OpenFlowRefused`]; [`NetError::Management`].
    #[doc(alias = "OFPT_METER_MOD")]
    pub fn add_meters(&mut self, meters: &[Meter]) -> Result<(), NetError> {
        let bodies =
            meters.iter().flat_map(|meter| [Meter::encode_delete(meter.number), meter.encode()]);
        self.change_meters(bodies.collect())
    }

    /// Deletes the meters of these numbers, and the flows that pass them. None need be there.
    ///
    /// # Errors
    ///
    /// [`NetError::OpenFlowRefused`]; [`NetError::Management`].
    pub fn delete_meters(&mut self, numbers: &[u32]) -> Result<(), NetError> {
        self.change_meters(numbers.iter().map(|number| Meter::encode_delete(*number)).collect())
    }

    fn change_meters(&mut self, bodies: Vec<Vec<u8>>) -> Result<(), NetError> {
        if bodies.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::after(self.timeout);
        let mut bytes = Vec::new();
        for body in bodies {
            let xid = self.next_xid();
            bytes.extend(self.encode(&Message::new(Kind::MeterMod, xid, body))?);
        }
        let barrier = self.next_xid();
        bytes.extend(self.encode(&Message::new(Kind::BarrierRequest, barrier, Vec::new()))?);
        self.write(&bytes, deadline)?;
        self.expect(Kind::BarrierReply, barrier, None, deadline)
    }

    /// Waits for the answer to the request `xid`, of a bundle if there is an `outcome`. With anything
    /// else, the connection is not used again, and its bundle ends with it.
    fn expect(
        &mut self,
        kind: Kind,
        xid: u32,
        outcome: Option<u16>,
        deadline: Deadline,
    ) -> Result<(), NetError> {
        let answer = self.receive(deadline)?;
        let found = outcome.and_then(|_| piece(&answer.body, 4).map(u16::from_be_bytes));
        if (answer.kind, answer.xid, found) == (kind, xid, outcome) {
            Ok(())
        } else {
            Err(self.malformed(format!("{:?} where {kind:?} was due", answer.kind)))
        }
    }

    /// The flows whose cookie has `value` under `mask`.
    ///
    /// # Errors
    ///
    /// [`NetError::Management`], [`NetError::OpenFlowMalformed`], [`NetError::OpenFlowRefused`].
    #[doc(alias = "OFPMP_FLOW")]
    pub fn flows(&mut self, value: u64, mask: u64) -> Result<Vec<FlowStats>, NetError> {
        let deadline = Deadline::after(self.timeout);
        let xid = self.send(Kind::MultipartRequest, FlowStats::question(value, mask), deadline)?;
        let mut flows = Vec::new();
        loop {
            let answer = self.receive(deadline)?;
            if (answer.kind, answer.xid) != (Kind::MultipartReply, xid) {
                let what = format!("{:?} as an answer about flows", answer.kind);
                return Err(self.malformed(what));
            }
            let (part, more) =
                FlowStats::read(&answer.body).map_err(|reason| self.malformed(reason))?;
            flows.extend(part);
            if flows.len() > MOST_FLOWS {
                return Err(self.malformed(format!("more than {MOST_FLOWS} flows")));
            }
            if !more {
                return Ok(flows);
            }
        }
    }

    /// Writes down a request about the bundle; its number.
    fn control(&mut self, asked: u16, bytes: &mut Vec<u8>) -> Result<u32, NetError> {
        let xid = self.next_xid();
        let mut body = BUNDLE.to_be_bytes().to_vec();
        body.extend(asked.to_be_bytes());
        body.extend(ATOMIC_ORDERED.to_be_bytes());
        bytes.extend(self.encode(&Message::new(Kind::BundleControl, xid, body))?);
        Ok(xid)
    }

    fn next_xid(&mut self) -> u32 {
        self.xid = self.xid.wrapping_add(1);
        self.xid
    }

    fn send(&mut self, kind: Kind, body: Vec<u8>, deadline: Deadline) -> Result<u32, NetError> {
        let xid = self.next_xid();
        let bytes = self.encode(&Message::new(kind, xid, body))?;
        self.write(&bytes, deadline)?;
        Ok(xid)
    }

    fn encode(&self, message: &Message) -> Result<Vec<u8>, NetError> {
        let too_long = || failed(&self.socket, "send to")(io::ErrorKind::InvalidInput.into());
        message.encode().ok_or_else(too_long)
    }

    fn write(&self, bytes: &[u8], deadline: Deadline) -> Result<(), NetError> {
        self.stream.send(bytes, deadline).map_err(failed(&self.socket, "send to"))
    }

    /// The next message that is an answer. A refusal is an error.
    fn receive(&mut self, deadline: Deadline) -> Result<Message, NetError> {
        loop {
            let read = self.reader.next_message();
            let Some(message) = read.map_err(|reason| self.malformed(reason))? else {
                let mut room = [0; 16 << 10];
                let received = self
                    .stream
                    .receive(&mut room, Some(deadline))
                    .map_err(failed(&self.socket, "receive from"))?;
                if received == 0 {
                    let closed = io::ErrorKind::UnexpectedEof.into();
                    return Err(failed(&self.socket, "receive from")(closed));
                }
                self.reader.push(&room[..received]);
                continue;
            };
            match message.kind {
                Kind::Error => {
                    let number = |at| piece(&message.body, at).map_or(0, u16::from_be_bytes);
                    return Err(NetError::OpenFlowRefused {
                        socket: self.socket.clone(),
                        kind: number(0),
                        code: number(2),
                    });
                }
                Kind::EchoRequest => {
                    let reply = Message::new(Kind::EchoReply, message.xid, message.body);
                    let bytes = self.encode(&reply)?;
                    self.write(&bytes, deadline)?;
                }
                // What nobody asked for: news of ports, of flows.
                Kind::Other(_) => {}
                _ => return Ok(message),
            }
        }
    }

    fn malformed(&self, reason: String) -> NetError {
        NetError::OpenFlowMalformed { socket: self.socket.clone(), reason }
    }
}

/// Whether the sender of this hello speaks OpenFlow 1.4: by its bitmap of versions, if there is one,
/// else by the highest, which is that of the header (7.5.1).
fn speaks_ours(hello: &Message) -> bool {
    let mut rest = hello.body.as_slice();
    while let Some(length) = piece(rest, 2).map(u16::from_be_bytes) {
        let length = usize::from(length);
        let Some(element) = rest.get(..length).filter(|element| element.len() >= 4) else { break };
        if piece(element, 0) == Some([0, 1]) {
            let versions = piece(element, 4).map_or(0, u32::from_be_bytes);
            return versions >> VERSION & 1 == 1;
        }
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    hello.version >= VERSION
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> NetError {
    let socket = path.to_owned();
    move |source| NetError::Management { action, socket, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_shows_whether_a_version_is_spoken() {
        let hello =
            |version, body: &[u8]| Message { version, ..Message::new(Kind::Hello, 1, body.into()) };
        assert!(speaks_ours(&hello(VERSION, &HELLO)));
        assert!(speaks_ours(&hello(6, &[0, 1, 0, 8, 0, 0, 0, 0x7e])));
        assert!(!speaks_ours(&hello(4, &[0, 1, 0, 8, 0, 0, 0, 1 << 4])));
        // Without a bitmap, behind another element, cut short.
        assert!(speaks_ours(&hello(6, &[])) && !speaks_ours(&hello(4, &[])));
        let behind = [&[0, 9, 0, 4, 0, 0, 0, 0], &HELLO[..]].concat();
        assert!(speaks_ours(&hello(6, &behind)));
        for odd in [&[0, 1, 0, 3][..], &[0, 1, 0, 0, 0], &[0, 1, 0, 80], &[0, 1]] {
            assert!(!speaks_ours(&hello(4, odd)));
        }
    }
}
