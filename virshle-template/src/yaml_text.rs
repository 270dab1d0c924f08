//! YAML as a text: its characters, and where a tab may stand.

use std::ops::Range;

use saphyr_parser::ScalarStyle;

/// The places of characters, which the parser counts, in bytes.
#[derive(Debug)]
pub(crate) struct Places {
    length: usize,
    /// Where each character begins; empty if each is a byte.
    starts: Vec<usize>,
}

impl Places {
    pub(crate) fn new(text: &str) -> Self {
        let starts = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| at).collect()
        };
        Self { length: text.len(), starts }
    }

    /// The byte at which the character number `index` begins.
    pub(crate) fn byte(&self, index: usize) -> usize {
        if self.starts.is_empty() {
            return index.min(self.length);
        }
        self.starts.get(index).copied().unwrap_or(self.length)
    }
}

/// The first character that YAML doesn't have, not even in a comment; or that PyYAML takes for the end
/// of a line, where no person and no later version of YAML does.
///
/// # References
///
/// PyYAML, `Reader.NON_PRINTABLE`.
pub(crate) fn unprintable(text: &str) -> Option<(usize, char)> {
    text.char_indices().find(|(at, character)| {
        // A byte order mark has one place.
        (*character == '\u{feff}' && *at > 0)
            || !matches!(character,
            '\t' | '\n' | '\r' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
    })
}

/// What stands before the first value and ends PyYAML there (`scanner.py`, `parser.py`): a directive without a
/// name of its own, the end of a document that has not begun.
pub(crate) fn wrong_start(text: &str) -> Option<(Range<usize>, &'static str)> {
    let mut from = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\r', '\n']);
        let at = from..from + bare.len();
        from += line.len();
        if let Some(directive) = bare.strip_prefix('%') {
            let is_end = |end: char| !end.is_ascii_alphanumeric() && !"-_".contains(end);
            let (name, rest) =
                directive.split_at(directive.find(is_end).unwrap_or(directive.len()));
            if name.is_empty() || !(rest.is_empty() || rest.starts_with(' ')) {
                return Some((at, "a directive without a name of letters and digits"));
            }
        } else if bare == "..." || bare.starts_with("... ") {
            return Some((at, "the end of a document that has not begun"));
        } else {
            let value = bare.trim_start_matches(['\u{feff}', ' ', '\t']);
            if !value.is_empty() && !value.starts_with('#') {
                return None;
            }
        }
    }
    None
}

/// The line that says that the text is in a version of YAML which PyYAML refuses: any but 1.x. It is one
/// of the directives, which stand before the byte `document`.
///
/// # References
///
/// PyYAML, `Parser.process_directives`.
pub(crate) fn other_version(text: &str, document: usize) -> Option<Range<usize>> {
    let mut from = 0;
    text.get(..document)?.split_inclusive('\n').find_map(|line| {
        let at = from..from + line.trim_end().len();
        from += line.len();
        let version = line.strip_prefix("%YAML")?.trim();
        (version.split('.').next() != Some("1")).then_some(at)
    })
}

/// The name of the anchor of the value in `range`, which begins behind the byte `after`; an error if
/// PyYAML reads no name there.
pub(crate) fn anchor<'t>(text: &'t str, after: usize, range: &Range<usize>) -> Result<&'t str, ()> {
    let of_value = text.get(range.start..).and_then(|value| value.strip_prefix('&'));
    let before =
        || text.get(after..range.start)?.rfind('&').and_then(|at| text.get(after + at + 1..));
    let Some(rest) = of_value.or_else(before) else { return Err(()) };
    let is_end = |end: char| !end.is_ascii_alphanumeric() && !"-_".contains(end);
    let (name, rest) = rest.split_at(rest.find(is_end).unwrap_or(rest.len()));
    let ends = |next: char| next.is_whitespace() || "?:,]}%@`".contains(next);
    if name.is_empty() || !rest.chars().next().is_none_or(ends) { Err(()) } else { Ok(name) }
}

/// Where the scalar in `range` ends: that of one in quotes takes in what follows.
pub(crate) fn end_of_scalar(text: &str, range: &Range<usize>, style: ScalarStyle) -> usize {
    let quote = match style {
        ScalarStyle::SingleQuoted => b'\'',
        ScalarStyle::DoubleQuoted => b'"',
        _ => return range.end,
    };
    let bytes = text.as_bytes().get(range.clone()).unwrap_or_default();
    // An anchor or a tag may come first.
    let mut at = bytes.iter().position(|byte| *byte == quote).map_or(bytes.len(), |at| at + 1);
    while let Some(byte) = bytes.get(at) {
        let next = bytes.get(at + 1);
        match *byte {
            b'\\' if quote == b'"' => at += 2,
            // Two of them are one.
            b'\'' if quote == b'\'' && next == Some(&quote) => at += 2,
            byte if byte == quote => return range.start + at + 1,
            _ => at += 1,
        }
    }
    range.end
}

/// The first tab before the byte `end` that is neither in quotes nor in a block of text nor in a
/// comment. PyYAML separates by blanks alone: "found character '\t' that cannot start any token".
pub(crate) fn separating_tab(
    text: &str,
    scalars: &[(Range<usize>, ScalarStyle)],
    end: usize,
) -> Option<usize> {
    let tabs = text.match_indices('\t').map(|(at, _)| at).take_while(|at| *at < end);
    let mut tabs = tabs.filter(|at| {
        let before = scalars.partition_point(|(range, _)| range.start <= *at);
        let last = before.checked_sub(1).and_then(|last| scalars.get(last));
        match last {
            Some((range, style)) if range.contains(at) => match style {
                ScalarStyle::Plain => true,
                ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => false,
                ScalarStyle::Literal | ScalarStyle::Folded => indents(text, range, *at),
            },
            other => !is_in_comment(text, other.map_or(0, |(range, _)| range.end), *at),
        }
    });
    tabs.next()
}

/// Whether the byte `at` is in a comment that begins after the byte `after`.
fn is_in_comment(text: &str, after: usize, at: usize) -> bool {
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let begin = line.max(after.min(at));
    let part = text.get(begin..at).unwrap_or_default();
    let found = part.match_indices('#').any(|(offset, _)| {
        let place = begin + offset;
        place == line || text[..place].ends_with([' ', '\t'])
    });
    found && !part.split('#').next().unwrap_or_default().contains('\t')
}

/// Whether the tab at the byte `at` stands in the indentation of the block of text in `range`, which it
/// ends then.
fn indents(text: &str, range: &Range<usize>, at: usize) -> bool {
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let blanks = at - line;
    if !text[line..at].bytes().all(|byte| byte == b' ') {
        return false;
    }
    let block = text.get(range.clone()).unwrap_or_default();
    let mut lines = block.split_inclusive('\n');
    if block.starts_with(['|', '>']) {
        lines.next();
    }
    // The first line that has more than blanks says how far the block is indented.
    let first = lines
        .map(|line| line.trim_end_matches(['\n', '\r']))
        .find(|line| line.bytes().any(|byte| byte != b' '));
    let indent = first.map_or(0, |line| line.len() - line.trim_start_matches(' ').len());
    blanks < indent || blanks == 0
}
