//! The wire format of D-Bus: values behind one another, each aligned to its own size.
//!
//! # References
//!
//! D-Bus Specification, "Marshaling (Wire Format)".

use std::str;

use crate::error::MalformedMessage;

/// Writes values, in the byte order of a message of ours: little endian.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Fills up to a multiple of `size`.
    pub(crate) fn align(&mut self, size: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(size), 0);
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(crate) fn number32(&mut self, number: u32) {
        self.align(4);
        self.raw(&number.to_le_bytes());
    }

    pub(crate) fn number64(&mut self, number: u64) {
        self.align(8);
        self.raw(&number.to_le_bytes());
    }

    /// A text. What the format can't hold, a zero byte, ends it.
    pub(crate) fn text(&mut self, text: &str) {
        let text = text.split('\0').next().unwrap_or_default();
        // A text of 4 GiB is refused by its length: none here is longer than a path.
        self.number32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.raw(text.as_bytes());
        self.byte(0);
    }

    pub(crate) fn signature(&mut self, signature: &str) {
        self.byte(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.raw(signature.as_bytes());
        self.byte(0);
    }

    /// An array whose elements are aligned to `size`, and which `fill` writes.
    pub(crate) fn array(&mut self, size: usize, fill: impl FnOnce(&mut Self)) {
        self.number32(0);
        let at = self.bytes.len() - 4;
        // The length counts from the first element on.
        self.align(size);
        let begin = self.bytes.len();
        fill(self);
        let length = u32::try_from(self.bytes.len() - begin).unwrap_or(u32::MAX);
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// Reads values out of bytes that another process sent.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, whose first one is aligned to anything.
    pub(crate) fn new(bytes: &'a [u8], big: bool) -> Self {
        Self { bytes, at: 0, big }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], MalformedMessage> {
        let end = self.at.checked_add(length).ok_or(MalformedMessage::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(MalformedMessage::Short)?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, MalformedMessage> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(crate) fn number32(&mut self) -> Result<u32, MalformedMessage> {
        self.align(4);
        let bytes = self.take(4)?.try_into().map_err(|_| MalformedMessage::Short)?;
        Ok(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, MalformedMessage> {
        let length = self.number32()?;
        self.text_of(usize::try_from(length).map_err(|_| MalformedMessage::Short)?)
    }

    pub(crate) fn signature(&mut self) -> Result<&'a str, MalformedMessage> {
        let length = self.byte()?;
        self.text_of(usize::from(length))
    }

    fn text_of(&mut self, length: usize) -> Result<&'a str, MalformedMessage> {
        let bytes = self.take(length)?;
        if self.byte()? != 0 {
            return Err(MalformedMessage::Text);
        }
        str::from_utf8(bytes).map_err(|_| MalformedMessage::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_to_their_size() {
        let mut writer = Writer::default();
        writer.byte(1);
        writer.number32(2);
        writer.text("ab");
        writer.number64(3);
        let expected =
            [&[1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0][..], b"ab\0\0", &[3, 0, 0, 0, 0, 0, 0, 0]];
        assert_eq!(writer.into_bytes(), expected.concat());
    }

    #[test]
    fn an_array_counts_its_elements_and_not_the_gap_before_them() {
        let mut writer = Writer::default();
        writer.array(8, |writer| writer.number64(7));
        assert_eq!(writer.into_bytes(), [8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn no_length_leads_past_the_end() {
        for bytes in [&[255, 255, 255, 255, b'a'][..], &[1, 0, 0, 0, b'a'], &[1, 0, 0, 0, b'a', 1]]
        {
            assert!(Reader::new(bytes, false).text().is_err(), "{bytes:?}");
        }
        assert_eq!(Reader::new(&[0, 0, 0, 1, b'a', 0], true).text(), Ok("a"));
    }
}
