//! Cuts a stream of JSON into messages.

use serde_json::Value as Json;

/// Cuts JSON objects out of a stream, looking at each byte once.
#[derive(Debug)]
pub(crate) struct Framer {
    buffer: Vec<u8>,
    /// Where the next message begins.
    start: usize,
    /// How far has been looked at.
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    limit: usize,
}

/// Why no message can be cut out of the stream any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// The bytes are not JSON objects.
    NotJson(String),
    /// A message is longer than the limit.
    TooLong,
}

impl Framer {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            limit,
        }
    }

    /// Adds bytes that arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
        } else if self.start > self.buffer.len() / 2 {
            // At most half is moved, and only after as much was taken: linear over all.
            self.buffer.drain(..self.start);
        } else {
            self.buffer.extend_from_slice(bytes);
            return;
        }
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if it has arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Json>, FrameError> {
        while let Some(&byte) = self.buffer.get(self.scanned) {
            self.scanned += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'{' | b'[' if self.depth > 0 || byte == b'{' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => self.depth -= 1,
                b'"' if self.depth > 0 => self.in_string = true,
                b' ' | b'\t' | b'\r' | b'\n' if self.depth == 0 => {
                    self.start = self.scanned;
                    continue;
                }
                _ if self.depth == 0 => {
                    return Err(FrameError::NotJson(format!(
                        "a message begins with {:?}",
                        char::from(byte)
                    )));
                }
                _ => {}
            }
            if self.depth == 0 {
                let message = &self.buffer[self.start..self.scanned];
                if message.len() > self.limit {
                    return Err(FrameError::TooLong);
                }
                self.start = self.scanned;
                return serde_json::from_slice(message)
                    .map(Some)
                    .map_err(|error| FrameError::NotJson(error.to_string()));
            }
        }
        if self.scanned - self.start > self.limit { Err(FrameError::TooLong) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all(framer: &mut Framer) -> Vec<Json> {
        let mut messages = Vec::new();
        while let Some(message) = framer.next().unwrap() {
            messages.push(message);
        }
        messages
    }

    #[test]
    fn messages_arrive_in_any_pieces() {
        let text = br#"{"a":"}{\"\\"}{"b":[{}]} {"c":1}"#;
        for size in 1..=text.len() {
            let mut framer = Framer::new(1000);
            let mut messages = Vec::new();
            for piece in text.chunks(size) {
                framer.push(piece);
                messages.extend(all(&mut framer));
            }
            assert_eq!(messages, [json!({"a": "}{\"\\"}), json!({"b": [{}]}), json!({"c": 1})]);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["x", "]", "[1]", "\"a\"", "1", "{]", "{\"a\":}", "\u{0}"] {
            let mut framer = Framer::new(1000);
            framer.push(text.as_bytes());
            assert!(matches!(framer.next(), Err(FrameError::NotJson(_))), "{text:?}");
        }
    }

    #[test]
    fn an_endless_message_is_refused_at_the_limit() {
        let mut framer = Framer::new(100);
        framer.push(b"{\"a\":\"");
        for _ in 0..9 {
            framer.push(&[b'x'; 10]);
            assert_eq!(framer.next(), Ok(None));
        }
        framer.push(&[b'x'; 10]);
        assert_eq!(framer.next(), Err(FrameError::TooLong));
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let mut framer = Framer::new(1 << 20);
        framer.push("{\"a\":".repeat(50_000).as_bytes());
        assert_eq!(framer.next(), Ok(None));
        framer.push("}".repeat(50_000).as_bytes());
        assert!(matches!(framer.next(), Err(FrameError::NotJson(_))));
    }

    #[test]
    fn a_long_message_in_small_pieces_is_read_in_linear_time() {
        let mut framer = Framer::new(64 << 20);
        let text = format!("{{\"a\":\"{}\"}}", "x".repeat(4 << 20));
        let mut messages = 0;
        for piece in text.as_bytes().chunks(64) {
            framer.push(piece);
            messages += all(&mut framer).len();
        }
        assert_eq!(messages, 1);
    }

    #[test]
    fn many_messages_at_once_leave_no_memory_behind() {
        let mut framer = Framer::new(1000);
        for _ in 0..1000 {
            framer.push(&b"{\"a\":1}".repeat(100));
            framer.push(b"{\"a\"");
            assert_eq!(all(&mut framer).len(), 100);
            framer.push(b":1}");
            assert_eq!(all(&mut framer).len(), 1);
        }
        assert!(framer.buffer.capacity() < 10_000);
    }

    #[test]
    fn mangled_bytes_never_panic() {
        let sample = br#"{"id":7,"result":[{"uuid":["uuid","550e8400-e29b-41d4-a716-446655440000"]},{"rows":[{"a":["set",[1,"\u00e9\\"]]}]}],"error":null}"#;
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 33).unwrap()
        };
        for _ in 0..20_000 {
            let mut bytes = sample.to_vec();
            for _ in 0..=random() % 6 {
                let at = random() % bytes.len();
                match random() % 4 {
                    0 => bytes[at] = u8::try_from(random() % 256).unwrap(),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"{}[]\"\\:,0"[random() % 9]),
                    _ => bytes.truncate(at.max(20)),
                }
            }
            let mut framer = Framer::new(4096);
            for piece in bytes.chunks(1 + random() % 40) {
                framer.push(piece);
                while let Ok(Some(message)) = framer.next() {
                    drop(crate::ovsdb::outcome::read_outcomes(message, &[]));
                }
            }
        }
    }
}
