use crate::whole::{WHOLE, parse};

/// A small generator of numbers, the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

#[test]
fn no_text_makes_it_panic() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let pieces = ["[[", "]]", "\"", "\\u0000", "=", "{", "}", "\n", "é", "\0", "1e99", "-", "."];
    for _ in 0..4000 {
        let mut text = WHOLE.to_owned();
        for _ in 0..=numbers.below(4) {
            let mut at = numbers.below(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match numbers.below(3) {
                0 => text.insert_str(at, pieces[numbers.below(pieces.len())]),
                1 => text.truncate(at.max(1)),
                _ => {
                    text.remove(at);
                }
            }
        }
        match parse(&text) {
            Ok(config) => {
                for mistake in config.mistakes() {
                    assert!(!mistake.to_string().is_empty());
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn odd_files_are_answered() {
    let deep = format!("a = {}1{}", "[".repeat(5000), "]".repeat(5000));
    let wide = format!("name = \"{}\"", "x".repeat(100_000));
    for text in [deep.as_str(), wide.as_str(), "\u{feff}", "\r\n", "= = =", "a.b.c.d = 1"] {
        if let Err(error) = parse(text) {
            assert!(!error.to_string().is_empty());
        }
    }
}
