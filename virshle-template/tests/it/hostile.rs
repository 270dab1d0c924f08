use crate::config::{WHOLE, parse};

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

/// Understands `text` and shows all there is to show of it.
fn try_out(text: &str) {
    match parse(text) {
        Ok(config) => {
            for mistake in config.mistakes() {
                assert!(!mistake.to_string().is_empty());
                assert!(mistake.line > 0 && mistake.column > 0 && mistake.width > 0);
                if let Some(name) = &mistake.template {
                    assert!(config.template(name).is_err(), "{name:?} is wrong and taken");
                }
            }
            for template in config.templates() {
                assert_eq!(config.template(&template.name).unwrap(), template);
                assert!(!serde_json::to_string(template).unwrap().is_empty());
            }
        }
        Err(error) => {
            assert!(!error.mistakes().is_empty());
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn no_change_of_bytes_causes_a_panic() {
    let pieces: [&[u8]; 24] = [
        b"[[",
        b"]]",
        b"\"",
        b"'''",
        b"\\u0000",
        b"=",
        b"{",
        b"}",
        b"\n",
        b"\r",
        "é".as_bytes(),
        b"\0",
        b"1e99",
        b"-",
        b".",
        b"[template.vm]\n",
        b"999999999999999999999",
        b"~",
        b"../",
        "\u{202e}".as_bytes(),
        b"\xff",
        b"0x",
        b"nan",
        b",",
    ];
    for seed in 1..=3 {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        for _ in 0..1500 {
            let mut bytes = WHOLE.as_bytes().to_vec();
            for _ in 0..=numbers.below(8) {
                let at = numbers.below(bytes.len());
                match numbers.below(6) {
                    0 => {
                        let piece = pieces[numbers.below(pieces.len())];
                        bytes.splice(at..at, piece.iter().copied());
                    }
                    1 => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
                    2 => bytes[at] ^= 1 << numbers.below(8),
                    3 if bytes.len() > 1 => drop(bytes.remove(at)),
                    4 => {
                        let end = (at + numbers.below(80)).min(bytes.len());
                        let copy = bytes[at..end].to_vec();
                        let to = numbers.below(bytes.len());
                        bytes.splice(to..to, copy);
                    }
                    _ => bytes.truncate(at.max(1)),
                }
            }
            try_out(&String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_is_answered() {
    for end in (0..=WHOLE.len()).filter(|end| WHOLE.is_char_boundary(*end)) {
        try_out(&WHOLE[..end]);
        try_out(&WHOLE[end..]);
    }
}

#[test]
fn odd_files_are_answered() {
    let deep = format!("a = {}1{}", "[".repeat(5000), "]".repeat(5000));
    let deep_tables = format!("a = {}1{}", "{ a = ".repeat(5000), "}".repeat(5000));
    let deep_keys = format!("[{}a]\n{}a = 1", "a.".repeat(5000), "a.".repeat(5000));
    let wide = format!("name = \"{}\"", "x".repeat(100_000));
    for text in [&deep, &deep_tables, &deep_keys, &wide] {
        try_out(text);
    }
    for text in ["\u{feff}", "\r", "\r\n", "\n\n\n", "\0", "= = =", "a.b.c.d = 1", "[]", "[[]]"]
        .into_iter()
        .chain(["\"\" = 1", "[\"\"]", "'' = ''", "a = \"\"\"", "template.vm = [[]]", "[[[[["])
        .chain(["template.vm = [{}, 1, 'x', [], {name = {}}]", "[template.vm.vm]", "[[template]]"])
    {
        try_out(text);
    }
}

#[test]
fn hostile_names_are_refused_wherever_they_stand() {
    let long = "x".repeat(300);
    let names = ["a/b", "..", ".", "", "/", "a\\nb", "a\\u0000b", "\\u202eb", "é", "-x", &long];
    for name in names {
        for text in [
            format!("[[template.vm]]\nname = \"{name}\"\nvcpu = 1\nvram = 1"),
            format!(
                "[[template.vm]]\nname = \"a\"\nvcpu = 1\nvram = 1\n\
                 disk = [{{ name = \"{name}\", size = \"1G\" }}]"
            ),
            format!(
                "[[template.vm]]\nname = \"a\"\nvcpu = 1\nvram = 1\n\
                 disk = [{{ name = \"a\", image = \"{name}\" }}]"
            ),
            format!(
                "[[template.vm]]\nname = \"a\"\nvcpu = 1\nvram = 1\n\
                 net = [{{ name = \"{name}\", type = \"tap\" }}]"
            ),
        ] {
            let config = parse(&text).unwrap();
            assert_eq!(config.templates().count(), 0, "{text}");
            let [mistake] = config.mistakes() else { panic!("{text}: {:?}", config.mistakes()) };
            assert!(mistake.message.contains("cannot be a name"), "{mistake}");
            assert!(mistake.to_string().len() < 1000, "{mistake}");
        }
    }
}

#[test]
fn thousands_of_mistakes_in_one_line_are_all_reported() {
    let text = format!("template.vm = [{}]", "{a=1},".repeat(2000));
    let config = parse(&text).unwrap();
    // Each is unknown key "a", and lacks a name, vcpu and vram.
    assert_eq!(config.mistakes().len(), 8000);
    assert!(config.mistakes().iter().all(|mistake| mistake.to_string().len() < 1000));
    let lines = format!("[[template.vm]]\n{}", "=\n".repeat(20_000));
    assert!(parse(&lines).unwrap_err().mistakes().len() > 1000);
}
