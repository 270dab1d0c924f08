//! One message of D-Bus: a call of ours, or what the other end sends.

use crate::error::MalformedMessage;
use crate::wire::{Reader, Writer};

/// The longest message that is read, in bytes; an answer of the manager has some hundred.
pub(crate) const MAX_MESSAGE: usize = 1 << 20;
/// The fixed part of a header.
pub(crate) const FIXED: usize = 16;

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageKind {
    /// The answer to the call of that number.
    Answer {
        /// The number of the call.
        to: u32,
    },
    /// The error that answers the call of that number.
    Error {
        /// The number of the call.
        to: u32,
        /// The name of the error.
        name: String,
    },
    /// A call or a signal.
    Other,
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// What it is.
    pub kind: MessageKind,
    /// The text that its body begins with, of an error or of a property: if it begins with one.
    pub text: Option<String>,
}

/// How long a message is, which begins with `fixed`.
pub(crate) fn length(fixed: &[u8]) -> Result<usize, MalformedMessage> {
    let big = is_big(fixed)?;
    let mut reader = Reader::new(fixed, big);
    reader.take(4)?;
    let body = to_usize(reader.number32()?)?;
    reader.number32()?;
    let fields = to_usize(reader.number32()?)?;
    if body > MAX_MESSAGE || fields > MAX_MESSAGE {
        return Err(MalformedMessage::TooLong);
    }
    Ok((FIXED + fields).next_multiple_of(8) + body)
}

fn is_big(bytes: &[u8]) -> Result<bool, MalformedMessage> {
    match (bytes.first(), bytes.get(3)) {
        (Some(b'l'), Some(1)) => Ok(false),
        (Some(b'B'), Some(1)) => Ok(true),
        (_, None) => Err(MalformedMessage::Short),
        _ => Err(MalformedMessage::Beginning),
    }
}

fn to_usize(number: u32) -> Result<usize, MalformedMessage> {
    usize::try_from(number).map_err(|_| MalformedMessage::TooLong)
}

/// The fields of a header that are looked at.
#[derive(Debug, Default)]
struct Fields {
    reply_to: Option<u32>,
    error: Option<String>,
    signature: String,
}

impl Message {
    /// Reads one whole message, as it came from the other end.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let whole = length(bytes)?;
        let big = is_big(bytes)?;
        let bytes = bytes.get(..whole).ok_or(MalformedMessage::Short)?;
        let kind = bytes.get(1).copied().unwrap_or_default();
        let mut reader = Reader::new(bytes, big);
        reader.take(12)?;
        let fields_end = FIXED + to_usize(reader.number32()?)?;
        let header = bytes.get(..fields_end).ok_or(MalformedMessage::Short)?;
        let mut reader = Reader::new(header, big);
        reader.take(FIXED)?;
        let fields = fields(&mut reader)?;
        let body = bytes.get(fields_end.next_multiple_of(8)..).unwrap_or_default();
        let text = first_text(&fields.signature, body, big)?;
        let kind = match (kind, fields.reply_to) {
            (2, Some(to)) => MessageKind::Answer { to },
            (3, Some(to)) => MessageKind::Error { to, name: fields.error.unwrap_or_default() },
            (2 | 3, None) => return Err(MalformedMessage::Field),
            _ => MessageKind::Other,
        };
        Ok(Self { kind, text })
    }
}

/// Reads `a(yv)`, as far as `reader` reaches.
fn fields(reader: &mut Reader<'_>) -> Result<Fields, MalformedMessage> {
    let mut fields = Fields::default();
    while !reader.is_at_end() {
        reader.align(8);
        let (code, signature) = (reader.byte()?, reader.signature()?);
        match (code, signature) {
            (4, "s") => fields.error = Some(reader.text()?.to_owned()),
            (5, "u") => fields.reply_to = Some(reader.number32()?),
            (8, "g") => reader.signature()?.clone_into(&mut fields.signature),
            (4 | 5 | 8, _) => return Err(MalformedMessage::Field),
            // Those that are not looked at, and those of a later version.
            (_, "s" | "o") => drop(reader.text()?),
            (_, "u" | "i" | "b") => drop(reader.number32()?),
            (_, "g") => drop(reader.signature()?),
            _ => return Err(MalformedMessage::Field),
        }
    }
    Ok(fields)
}

/// The text that a body begins with: as itself, as the path of an object, or in a variant.
fn first_text(signature: &str, body: &[u8], big: bool) -> Result<Option<String>, MalformedMessage> {
    let mut reader = Reader::new(body, big);
    let inner = if signature.starts_with('v') { reader.signature()? } else { signature };
    Ok(match inner.bytes().next() {
        Some(b's' | b'o') => Some(reader.text()?.to_owned()),
        _ => None,
    })
}

/// A call of a method of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method {
    pub(crate) destination: &'static str,
    pub(crate) path: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) member: &'static str,
    pub(crate) signature: &'static str,
}

impl Method {
    /// The message of the call number `serial`, whose arguments `fill` writes.
    pub(crate) fn message(&self, serial: u32, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut body = Writer::default();
        fill(&mut body);
        let body = body.into_bytes();
        let mut writer = Writer::default();
        // Little endian, a call, no flags, version 1.
        writer.raw(&[b'l', 1, 0, 1]);
        writer.number32(u32::try_from(body.len()).unwrap_or(u32::MAX));
        writer.number32(serial);
        writer.array(8, |writer| {
            for (code, signature, value) in [
                (1, "o", self.path),
                (6, "s", self.destination),
                (2, "s", self.interface),
                (3, "s", self.member),
            ] {
                writer.align(8);
                writer.byte(code);
                writer.signature(signature);
                writer.text(value);
            }
            if !self.signature.is_empty() {
                writer.align(8);
                writer.byte(8);
                writer.signature("g");
                writer.signature(self.signature);
            }
        });
        writer.align(8);
        writer.raw(&body);
        writer.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METHOD: Method =
        Method { destination: "a.b", path: "/a", interface: "a.b.C", member: "D", signature: "s" };

    /// An answer of a real manager (systemd 252) to `StartTransientUnit`.
    fn answer(big: bool) -> Vec<u8> {
        let text = b"/org/freedesktop/systemd1/job/7";
        let number = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut bytes = vec![if big { b'B' } else { b'l' }, 2, 1, 1];
        bytes.extend(number(u32::try_from(text.len()).unwrap() + 5));
        bytes.extend(number(9));
        bytes.extend(number(15));
        bytes.extend([5, 1, b'u', 0]);
        bytes.extend(number(2));
        bytes.extend([8, 1, b'g', 0, 1, b'o', 0, 0]);
        bytes.extend(number(u32::try_from(text.len()).unwrap()));
        bytes.extend(text);
        bytes.push(0);
        bytes
    }

    #[test]
    fn an_answer_is_read_in_either_byte_order() {
        for big in [false, true] {
            let bytes = answer(big);
            assert_eq!(length(&bytes), Ok(bytes.len()));
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.kind, MessageKind::Answer { to: 2 });
            assert_eq!(message.text.as_deref(), Some("/org/freedesktop/systemd1/job/7"));
            for end in 0..bytes.len() {
                assert!(Message::parse(&bytes[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn a_call_of_ours_is_a_message() {
        let bytes = METHOD.message(3, |writer| writer.text("hello"));
        assert_eq!(length(&bytes), Ok(bytes.len()));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message, Message { kind: MessageKind::Other, text: Some("hello".into()) });
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0..80_usize, byte: u8) {
            drop(Message::parse(&bytes));
            let mut answer = answer(false);
            let at = at % answer.len();
            answer[at] = byte;
            drop(Message::parse(&answer));
        }
    }
}
