//! Removes control sequences from a guest's output before it reaches a terminal.
//!
//! A guest must not clear its host's screen, retitle its window or type into its shell. Colours and
//! line feeds pass; whatever else a terminal would act on is removed.

/// Filters a stream, piece by piece: a sequence may begin in one piece and end in the next.
#[derive(Debug, Default)]
pub(crate) struct TerminalText {
    state: State,
    /// The sequence so far.
    sequence: Vec<u8>,
}

/// Where in a control sequence the stream is (ECMA-48, 5.3 to 5.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence, after `ESC [`.
    Control,
    /// In a control string, which ends with BEL or `ESC \`.
    String,
    /// After ESC in a control string.
    StringEscape,
    /// After the byte that begins U+0080 to U+00BF in UTF-8. The first half are control
    /// characters, which some terminals obey like ESC.
    Latin,
}

/// Begins U+0080 to U+00BF in UTF-8.
const LATIN: u8 = 0xc2;
/// The longest colour sequence that passes, in bytes.
const MAX_SEQUENCE: usize = 64;

impl TerminalText {
    /// Returns the part of `bytes` that may be printed.
    pub(crate) fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.step(byte, &mut shown);
        }
        shown
    }

    fn step(&mut self, byte: u8, shown: &mut Vec<u8>) {
        match (self.state, byte) {
            (State::Text | State::Escape | State::Control, 0x1b) => {
                self.state = State::Escape;
            }
            (State::Text, LATIN) => self.state = State::Latin,
            (State::Latin, _) => {
                self.state = State::Text;
                match byte {
                    0x80..0xa0 => {}
                    0xa0..0xc0 => shown.extend([LATIN, byte]),
                    // Not UTF-8: what follows is looked at for itself.
                    _ => self.step(byte, shown),
                }
            }
            (State::Text, b'\n' | b'\t' | b' '..=b'~' | 0x80..) => shown.push(byte),
            // The carriage return, which would let a line overwrite itself, comes with a line feed.
            (State::Text, _) => {}
            (State::Escape, b'[') => {
                self.state = State::Control;
                self.sequence.clear();
            }
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => self.state = State::String,
            // Intermediate bytes: more of the sequence follows.
            (State::Escape, b' '..=b'/') => {}
            (State::Escape, _) => self.state = State::Text,
            (State::Control, b'@'..=b'~') => {
                if byte == b'm' && self.sequence.len() <= MAX_SEQUENCE {
                    shown.extend_from_slice(b"\x1b[");
                    shown.append(&mut self.sequence);
                    shown.push(b'm');
                }
                self.state = State::Text;
            }
            (State::Control, b' '..=b'?') => {
                if self.sequence.len() <= MAX_SEQUENCE {
                    self.sequence.push(byte);
                }
            }
            // Not a control sequence after all.
            (State::Control, _) => self.state = State::Text,
            (State::String, 0x07) | (State::StringEscape, b'\\') => self.state = State::Text,
            (State::String | State::StringEscape, 0x1b) => self.state = State::StringEscape,
            // A string that never ends must not swallow the log.
            (State::String | State::StringEscape, b'\n') => {
                shown.push(b'\n');
                self.state = State::Text;
            }
            (State::String | State::StringEscape, _) => self.state = State::String,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> String {
        // Byte by byte, so that every sequence is cut everywhere.
        let mut filter = TerminalText::default();
        let bytes = text.bytes().flat_map(|byte| filter.filter(&[byte])).collect();
        let whole = TerminalText::default().filter(text.as_bytes());
        assert_eq!(whole, bytes, "{text:?}");
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_and_colours_pass() {
        assert_eq!(
            filter("[ \x1b[0;32mOK\x1b[0m ] büro\r\n\tx"),
            "[ \x1b[0;32mOK\x1b[0m ] büro\n\tx"
        );
    }

    #[test]
    fn sequences_that_move_the_cursor_or_retitle_the_window_are_removed() {
        assert_eq!(
            filter("\x1b[2J\x1b[01;01Ha\x1b]0;title\x07b\x1b]0;x\x1b\\c\x1bcd\x07\x08"),
            "abcd"
        );
        assert_eq!(filter("\x1b]0;never ends\nnext"), "\nnext");
        assert_eq!(TerminalText::default().filter(b"\xc2\x1b[2Jx\xc2\xc2\x9b"), b"x");
        assert_eq!(filter("x\u{9b}2Jy § °"), "x2Jy § °");
        assert_eq!(filter("\x1b(Bx\x1b[?25ly"), "xy");
    }
}
