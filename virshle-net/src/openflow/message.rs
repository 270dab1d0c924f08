//! Messages: a header of eight bytes and a body, one after the other in a stream.

/// OpenFlow 1.4 on the wire.
pub(crate) const VERSION: u8 = 5;
/// The header of every message (7.1.1).
pub(crate) const HEADER: usize = 8;

/// What a message is (7.1.1), as far as this client sends or understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The versions that a side speaks.
    Hello,
    /// A refusal.
    Error,
    /// Asks for a sign of life.
    EchoRequest,
    /// Gives it.
    EchoReply,
    /// A flow to add, or flows to delete.
    FlowMod,
    /// A meter to add or to delete.
    MeterMod,
    /// A question with a long answer.
    MultipartRequest,
    /// A part of that answer.
    MultipartReply,
    /// Asks for a reply when all before it is done.
    BarrierRequest,
    /// Gives it.
    BarrierReply,
    /// Opens, commits, discards a bundle.
    BundleControl,
    /// A message that belongs to a bundle.
    BundleAdd,
    /// Anything else.
    Other(u8),
}

impl Kind {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Hello => 0,
            Self::Error => 1,
            Self::EchoRequest => 2,
            Self::EchoReply => 3,
            Self::FlowMod => 14,
            Self::MeterMod => 29,
            Self::MultipartRequest => 18,
            Self::MultipartReply => 19,
            Self::BarrierRequest => 20,
            Self::BarrierReply => 21,
            Self::BundleControl => 33,
            Self::BundleAdd => 34,
            Self::Other(number) => number,
        }
    }

    fn of(number: u8) -> Self {
        match number {
            0 => Self::Hello,
            1 => Self::Error,
            2 => Self::EchoRequest,
            3 => Self::EchoReply,
            14 => Self::FlowMod,
            29 => Self::MeterMod,
            18 => Self::MultipartRequest,
            19 => Self::MultipartReply,
            20 => Self::BarrierRequest,
            21 => Self::BarrierReply,
            33 => Self::BundleControl,
            34 => Self::BundleAdd,
            other => Self::Other(other),
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The version in its header.
    pub version: u8,
    /// What it is.
    pub kind: Kind,
    /// Which request it belongs to.
    pub xid: u32,
    /// What follows the header.
    pub body: Vec<u8>,
}

impl Message {
    pub(crate) fn new(kind: Kind, xid: u32, body: Vec<u8>) -> Self {
        Self { version: VERSION, kind, xid, body }
    }

    /// Its bytes; nothing if it is longer than a message can be.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(HEADER.checked_add(self.body.len())?).ok()?;
        let mut bytes = vec![self.version, self.kind.number()];
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(&self.body);
        Some(bytes)
    }
}

/// Cuts messages out of a stream that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct MessageReader {
    bytes: Vec<u8>,
}

impl MessageReader {
    /// One that has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it is there. At most 64 KiB are ever waited for.
    ///
    /// # Errors
    ///
    /// What it is instead of a message; nothing can be read from there on.
    pub fn next_message(&mut self) -> Result<Option<Message>, String> {
        let Some(header) = self.bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let [version, kind, high, low, xid @ ..] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < HEADER {
            return Err(format!("a message of {length} bytes"));
        }
        if self.bytes.len() < length {
            return Ok(None);
        }
        let rest = self.bytes.split_off(length);
        let mut body = std::mem::replace(&mut self.bytes, rest);
        body.drain(..HEADER);
        Ok(Some(Message { version, kind: Kind::of(kind), xid: u32::from_be_bytes(xid), body }))
    }
}

/// `N` bytes of `bytes`, if there are that many from `at` on.
pub(crate) fn piece<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written_in_whatever_pieces() {
        let messages = [
            Message::new(Kind::Hello, 1, vec![]),
            Message::new(Kind::FlowMod, 2, vec![7; 100]),
            Message::new(Kind::Other(200), u32::MAX, vec![0]),
        ];
        let bytes: Vec<u8> = messages.iter().flat_map(|one| one.encode().unwrap()).collect();
        for size in [1, 3, 8, bytes.len()] {
            let mut reader = MessageReader::new();
            let mut read = Vec::new();
            for part in bytes.chunks(size) {
                reader.push(part);
                while let Some(message) = reader.next_message().unwrap() {
                    read.push(message);
                }
            }
            assert_eq!(read, messages);
        }
    }

    #[test]
    fn a_length_that_is_none_ends_the_reading() {
        let mut reader = MessageReader::new();
        reader.push(&[5, 0, 0, 7, 0, 0, 0, 0, 0]);
        assert!(reader.next_message().is_err());
        assert_eq!(Message::new(Kind::Hello, 0, vec![0; 65_528]).encode(), None);
        assert!(Message::new(Kind::Hello, 0, vec![0; 65_527]).encode().is_some());
    }
}
