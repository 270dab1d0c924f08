//! Filters what a guest writes to its console while a person is at it: text, colours and full-screen
//! programs work, and the guest gets at nothing of the host's but the screen.
//!
//! Removed is what acts beyond the screen (the clipboard, notifications, printing, downloads), what
//! makes the terminal type something that the guest chose (its title, its settings), and what changes
//! how keys are encoded. The question where the cursor is passes: boot loaders and login prompts ask
//! it, and its answer is but two numbers.
//!
//! # References
//!
//! ECMA-48, 5.3 to 5.6; xterm's `ctlseqs`.

/// Filters a stream, piece by piece: a sequence may begin in one piece and end in the next.
#[derive(Debug, Default)]
pub(crate) struct LiveText {
    state: State,
    /// The sequence so far, without its introducer.
    sequence: Vec<u8>,
    /// How many bytes of a character in UTF-8 are still to come.
    continues: usize,
    /// Whether the guest has changed to the alternate screen.
    is_alternate: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence, after `ESC [`.
    Control,
    /// In an operating system command, after `ESC ]`.
    Command,
    /// In another control string, none of which passes.
    String,
    /// After ESC in a control string; whether that was a command.
    StringEscape { command: bool },
    /// After the byte that begins U+0080 to U+00BF in UTF-8: the first half are control characters,
    /// which some terminals obey like ESC.
    Latin,
}

/// Begins U+0080 to U+00BF in UTF-8.
const LATIN: u8 = 0xc2;
/// The longest control sequence that passes, in bytes.
const MAX_SEQUENCE: usize = 128;
/// The longest command that passes, in bytes: a title, or the address of a link.
const MAX_COMMAND: usize = 4096;

/// What puts a terminal back, whatever a guest made of it: settings, the scrolling region and character
/// sets; the keys of mouse, focus, pasting, cursor and keypad; wrapping; the cursor and its shape; colours.
const RESTORE: &str = "\x1b[!p\x1b[?1000;1001;1002;1003;1004;1005;1006;1015;1016;2004;2026l\x1b[?1l\x1b>\
                       \x1b(B\x0f\x1b[?7h\x1b[?25h\x1b[0 q\x1b[0m";
/// What leaves the alternate screen. Sent where the terminal is not in it, it would move the cursor.
const LEAVE_ALTERNATE: &str = "\x1b[?1049l";

impl LiveText {
    /// Returns the part of `bytes` that may be printed.
    pub(crate) fn filter(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.step(byte, &mut shown);
        }
        shown
    }

    /// What puts the terminal back, after all that was printed.
    pub(crate) fn restore(&self) -> Vec<u8> {
        let leave = if self.is_alternate { LEAVE_ALTERNATE } else { "" };
        format!("{leave}{RESTORE}").into_bytes()
    }

    fn step(&mut self, byte: u8, shown: &mut Vec<u8>) {
        match (self.state, byte) {
            // The rest of a character: no control character, though it may look like one.
            (State::Text, 0x80..0xc0) if self.continues > 0 => {
                self.continues -= 1;
                shown.push(byte);
            }
            (State::Text | State::Escape | State::Control, 0x1b) => self.begin(State::Escape),
            (State::Text, LATIN) => self.begin(State::Latin),
            (State::Latin, _) => {
                self.state = State::Text;
                match byte {
                    0x80..0xa0 => self.introduce(byte),
                    0xa0..0xc0 => shown.extend([LATIN, byte]),
                    // Not UTF-8: what follows is looked at for itself.
                    _ => self.step(byte, shown),
                }
            }
            // Control characters of eight bits, which not every terminal takes for broken UTF-8.
            (State::Text, 0x80..0xa0) => self.introduce(byte),
            // ENQ, which is answered by a text of the user's.
            (State::Text, 0x05) => self.continues = 0,
            (State::Text, _) => {
                self.continues = match byte {
                    0xc3..0xe0 => 1,
                    0xe0..0xf0 => 2,
                    0xf0..0xf8 => 3,
                    _ => 0,
                };
                shown.push(byte);
            }
            (State::Escape, b'[') => self.begin(State::Control),
            (State::Escape, b']') => self.begin(State::Command),
            // Device control, application program, privacy message, start of string; a title of screen's.
            (State::Escape, b'P' | b'_' | b'^' | b'X' | b'k') => self.begin(State::String),
            (State::Escape, b' '..=b'/') => self.extend(byte, MAX_SEQUENCE),
            (State::Escape, _) => {
                // DECID, an old question for the terminal's kind; the end of a string that was none.
                if !b"Z\\".contains(&byte)
                    && !byte.is_ascii_control()
                    && byte.is_ascii()
                    && self.fits()
                {
                    shown.push(0x1b);
                    shown.append(&mut self.sequence);
                    shown.push(byte);
                }
                self.begin(State::Text);
            }
            (State::Control, b'@'..=b'~') => {
                if self.fits() && passes(&self.sequence, byte) {
                    self.note_screen(byte);
                    shown.extend_from_slice(b"\x1b[");
                    shown.append(&mut self.sequence);
                    shown.push(byte);
                }
                self.begin(State::Text);
            }
            (State::Control, b' '..=b'?') => self.extend(byte, MAX_SEQUENCE),
            // Not a control sequence after all.
            (State::Control, _) => self.begin(State::Text),
            (State::Command, 0x07) | (State::StringEscape { command: true }, b'\\') => {
                self.end_command(shown);
            }
            (State::StringEscape { command: false }, b'\\') => self.begin(State::Text),
            (State::Command, 0x1b) => self.state = State::StringEscape { command: true },
            (State::String, 0x1b) => self.state = State::StringEscape { command: false },
            // CAN, SUB: what ends any sequence.
            (State::Command | State::String, 0x18 | 0x1a) => self.begin(State::Text),
            // Another sequence ends the string, and begins.
            (State::StringEscape { .. }, _) => {
                self.begin(State::Escape);
                self.step(byte, shown);
            }
            (State::Command, _) => self.extend(byte, MAX_COMMAND),
            // A string that never ends must not swallow the console.
            (State::String, b'\n') => {
                shown.push(b'\n');
                self.begin(State::Text);
            }
            (State::String, _) => {}
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.sequence.clear();
        self.continues = 0;
    }

    /// Begins what a control character of eight bits begins; the others say nothing.
    fn introduce(&mut self, control: u8) {
        self.begin(match control {
            0x9b => State::Control,
            0x9d => State::Command,
            0x90 | 0x98 | 0x9e | 0x9f => State::String,
            _ => State::Text,
        });
    }

    /// Adds to the sequence, of which no more is kept than shows that it is too long.
    fn extend(&mut self, byte: u8, most: usize) {
        if self.sequence.len() <= most {
            self.sequence.push(byte);
        }
    }

    fn fits(&self) -> bool {
        self.sequence.len() <= MAX_SEQUENCE
    }

    fn end_command(&mut self, shown: &mut Vec<u8>) {
        let (number, text) = match self.sequence.iter().position(|byte| *byte == b';') {
            Some(at) => (&self.sequence[..at], &self.sequence[at..]),
            None => (&self.sequence[..], &[][..]),
        };
        // Titles, and links in text. Not the clipboard (52), what is downloaded (1337), notified of (9,
        // 777), or asked for.
        let is_known = [&b"0"[..], b"1", b"2", b"8"].contains(&number);
        let is_plain = |byte: &u8| *byte >= 0x20 && !(0x7f..0xa0).contains(byte);
        if is_known && self.sequence.len() <= MAX_COMMAND && text.iter().all(is_plain) {
            shown.extend_from_slice(b"\x1b]");
            shown.append(&mut self.sequence);
            shown.push(0x07);
        }
        self.begin(State::Text);
    }

    /// Notes whether a sequence that passes changes to the alternate screen, or back.
    fn note_screen(&mut self, last: u8) {
        if let Some(modes) = self.sequence.strip_prefix(b"?") {
            if (last == b'h' || last == b'l')
                && modes
                    .split(|byte| *byte == b';')
                    .any(|mode| [&b"47"[..], b"1047", b"1049"].contains(&mode))
            {
                self.is_alternate = last == b'h';
            }
        }
    }
}

/// Whether the control sequence of `parameters` that ends in `last` passes.
fn passes(parameters: &[u8], last: u8) -> bool {
    let is_private = parameters.first().is_some_and(|byte| b"<=>?".contains(byte));
    let is_question_mark = parameters.first() == Some(&b'?');
    let intermediate = parameters.iter().find(|byte| (b' '..=b'/').contains(*byte));
    match (intermediate, last) {
        // Where the cursor is, and whether the terminal is in order; and no other report.
        (None, b'n') => [&b"5"[..], b"6"].contains(&parameters),
        // The kind of the terminal; its settings; its window, with its title; the printer.
        (None, b'c' | b'x' | b't' | b'i') => false,
        // Modes of the screen and the mouse. What else is private asks, or changes the keys.
        (None, b'h' | b'l') => !is_private || is_question_mark,
        (None, b'J' | b'K' | b's' | b'r') => !is_private || is_question_mark,
        (None, _) => !is_private,
        // A reset; the shape of the cursor; protected text.
        (Some(b'!'), b'p') | (Some(b' '), b'q') | (Some(b'"'), b'q') => !is_private,
        // Checksums of the screen, the mouse's place, and the like.
        (Some(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_bytes(bytes: &[u8]) -> Vec<u8> {
        // Byte by byte, so that every sequence is cut everywhere.
        let mut filter = LiveText::default();
        let cut: Vec<u8> = bytes.iter().flat_map(|byte| filter.filter(&[*byte])).collect();
        assert_eq!(LiveText::default().filter(bytes), cut, "{bytes:?}");
        cut
    }

    fn filter(text: &str) -> String {
        String::from_utf8(filter_bytes(text.as_bytes())).unwrap()
    }

    #[test]
    fn text_colours_and_full_screen_programs_pass() {
        for text in [
            "login: \r\n\t\x08\x07 büro ✓ 🙂 § ° \u{9f8d}",
            "\x1b[0;32mOK\x1b[0m \x1b[38;2;1;2;3m\x1b[4:3m",
            "\x1b[2J\x1b[01;01H\x1b[?25l\x1b[?1049h\x1b[?1000;1006h\x1b[3;20r\x1b[?2004h",
            "\x1b(B\x1b)0\x0e\x0f\x1b7\x1b8\x1b=\x1b>\x1bM\x1bc\x1b#8",
            "\x1b[4 q\x1b[!p\x1b[1\"q\x1b[?J\x1b[10X\x1b[5L\x1b[20h",
            "\x1b]0;title\x07\x1b]8;;https://there/é\x07link\x1b]8;;\x07",
            // What boot loaders and login prompts ask.
            "\x1b[6n\x1b[5n",
        ] {
            assert_eq!(filter(text), text);
        }
        assert_eq!(filter("\x1b]2;title\x1b\\x"), "\x1b]2;title\x07x");
    }

    #[test]
    fn what_reaches_beyond_the_screen_is_removed() {
        for text in [
            // The clipboard, also inside of what a multiplexer passes on.
            "\x1b]52;c;cm0gLXJmIH4=\x07",
            "\x1b]52;c;?\x1b\\",
            "\x1bPtmux;\x1b\x1b]52;c;cm0=\x07\x1b\\",
            "\u{9d}52;c;cm0=\x07",
            // Notifications, downloads, colours that stay, questions for them.
            "\x1b]9;boo\x07",
            "\x1b]777;notify;a;b\x07",
            "\x1b]1337;File=:AA==\x07",
            "\x1b]4;0;?\x07",
            "\x1b]11;?\x1b\\",
            "\x1b]50;?\x07",
            "\x1b]7;file://host/\x07",
            // Reports: title, window, terminal, settings, modes, checksums, version, keys.
            "\x1b[21t",
            "\x1b[20t\x1b[18t\x1b[8;1;1t",
            "\x1b[c\x1b[0c\x1b[>c\x1b[=c",
            "\x1b[?6n\x1b[?15n\x1b[?996n",
            "\x1bZ\x05",
            "\x1b[x\x1b[1x",
            "\x1b[?2004$p\x1b[4$p",
            "\x1b[1;1;1;1;9;9*y",
            "\x1b[1$w\x1b[1$u\x1b['|\x1b[1'z\x1b[&u",
            "\x1b[>q\x1b[?u\x1b[>1u\x1b[<u\x1b[>4;2m\x1b[?4m\x1b[?1;1;0S",
            "\x1bP$qm\x1b\\",
            "\x1bP+q544e\x1b\\",
            // The printer.
            "\x1b[5i\x1b[4i\x1b[?5i",
            // Graphics, messages, titles of screen's.
            "\x1b_Gi=1,a=q;AAAA\x1b\\",
            "\x1b^x\x1b\\\x1bXy\x1b\\",
            "\x1bktitle\x1b\\",
            "\u{90}$qm\u{9b}21t",
        ] {
            assert_eq!(filter(&format!("{text}\x1b\\.")), ".", "{text:?}");
        }
        // In eight bits, which is no UTF-8.
        assert_eq!(filter_bytes(b"\x9d52;c;cm0=\x07\x9b21t\x9b0m\x85."), b"\x1b[0m.");
        assert_eq!(filter_bytes(b"\xc3\x9b21t"), b"\xc3\x9b21t", "the end of a letter is no CSI");
        assert_eq!(filter_bytes(b"\xc3A\x9b21t"), b"\xc3A");
        assert_eq!(filter_bytes(b"\xc2\x1b[21tx"), b"x");
    }

    #[test]
    fn a_sequence_within_another_or_without_an_end_is_none() {
        assert_eq!(filter("\x1b]0;a\x1b]52;c;x\x07."), ".");
        assert_eq!(filter("\x1b[3\x1b[21t."), ".");
        assert_eq!(filter("\x1b\x1b[21t."), ".");
        assert_eq!(filter("\x1b]0;a\x1b[31mred"), "\x1b[31mred");
        assert_eq!(filter("\x1b]0;a\nb\x07."), ".");
        assert_eq!(filter("\x1b]0;never ends \x18."), ".");
        assert_eq!(filter("\x1bPnever ends\nnext"), "\nnext");
        assert_eq!(filter(&format!("\x1b[{}m.", "1;".repeat(MAX_SEQUENCE))), ".");
        assert_eq!(filter(&format!("\x1b]0;{}\x07.", "x".repeat(2 * MAX_COMMAND))), ".");
        let mut filter = LiveText::default();
        filter.filter(&[b'\x1b'; 9]);
        filter.filter(b"]0;");
        filter.filter(&vec![b'x'; 1 << 20]);
        assert!(filter.sequence.len() <= MAX_COMMAND + 1);
    }

    #[test]
    fn the_alternate_screen_is_left_if_the_guest_is_in_it() {
        let restored = |text: &str| {
            let mut filter = LiveText::default();
            filter.filter(text.as_bytes());
            String::from_utf8(filter.restore()).unwrap().starts_with(LEAVE_ALTERNATE)
        };
        assert!(!restored("text"));
        assert!(restored("\x1b[?1049h"));
        assert!(restored("\x1b[?25;1049h\x1b[?25l"));
        assert!(!restored("\x1b[?47h\x1b[?47l"));
        // The filter itself lets all of it pass, and no part of it twice.
        let whole = LiveText::default().restore();
        assert_eq!(LiveText::default().filter(&whole), whole);
    }
}
