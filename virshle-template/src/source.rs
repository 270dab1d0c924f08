//! The text that is read, and what was found wrong with it so far.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Mistake;
use crate::suggestion::{nearest, quoted};

/// The text that is read, and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The file it is the content of.
    pub(crate) path: &'a Path,
    /// What `~` stands for.
    pub(crate) home: Option<PathBuf>,
    lines: Lines<'a>,
    /// The number of the template being read.
    template: Cell<Option<usize>>,
    /// The lines that aren't TOML, from 0, while what the parser made of the text is looked at.
    guesses: RefCell<HashSet<usize>>,
    notes: RefCell<Vec<Note>>,
}

/// A mistake, in short: thousands of them can stand in one long line.
#[derive(Debug, Default)]
struct Note {
    span: Range<usize>,
    message: String,
    help: Option<String>,
    suggestion: Option<String>,
    template: Option<usize>,
}

/// The message of the parser for a duplicate key.
const TWICE: &str = "duplicate key";

impl Mistake {
    /// A mistake in `text`, the content of `path`: what stands in the bytes `span` is wrong. For other
    /// files than a configuration that are shown like one.
    pub fn at(path: &Path, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        Source::new(path, text, None).mistake(span, message.into())
    }
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a Path, text: &'a str, home: Option<PathBuf>) -> Self {
        let (template, guesses, notes) = (Cell::default(), RefCell::default(), RefCell::default());
        Self { path, home, lines: Lines::new(text), template, guesses, notes }
    }

    /// Attributes what is noted from now on to the template with this number.
    pub(crate) fn enter(&self, template: Option<usize>) {
        self.template.set(template);
    }

    fn note(&self, note: Note) {
        // What the parser made of such a line is a guess, and a value that it made up stands
        // nowhere.
        let guessed = self.guesses.borrow();
        let (line, _) = self.lines.at(note.span.start);
        if !guessed.is_empty() && (guessed.contains(&line) || note.span == (0..0)) {
            return;
        }
        let template = self.template.get();
        self.notes.borrow_mut().push(Note { template, ..note });
    }

    /// Notes that the text in `span` is wrong. An empty `help` is none.
    pub(crate) fn wrong(&self, span: Range<usize>, message: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.note(Note { span, message: message.into(), help, ..Note::default() });
    }

    /// Notes that something that should be there is not: as long as the text is TOML, since else
    /// it may be there and just not have been understood.
    pub(crate) fn lacks(&self, span: Range<usize>, message: impl Into<String>, help: &str) {
        if self.guesses.borrow().is_empty() {
            self.wrong(span, message, help);
        }
    }

    /// Notes that `name`, which stands in `span`, is none of the `known` ones, and answers with
    /// the one that was likely meant.
    pub(crate) fn unknown<'k>(
        &self,
        span: Range<usize>,
        what: &str,
        name: &str,
        known: &[&'k str],
    ) -> Option<&'k str> {
        let meant = nearest(name, known.iter().copied());
        let mut message = format!("unknown {what} {}", quoted(name));
        if let Some(meant) = meant {
            message.push_str(&format!(", did you mean {meant:?}?"));
        }
        let help = match known {
            [] => None,
            [only] => Some(format!("expected {only}")),
            _ => Some(format!("expected one of {}", known.join(", "))),
        };
        let suggestion = meant.map(ToOwned::to_owned);
        self.note(Note { span, message, help, suggestion, template: None });
        meant
    }

    /// Notes what keeps the text from being TOML.
    pub(crate) fn not_toml(&self, error: &toml::de::Error) {
        let span = error.span().unwrap_or(0..0);
        let (message, expected) = match error.message().split_once(", expected ") {
            Some((message, expected)) => (message, Some(expected)),
            None => (error.message(), None),
        };
        let found = self.lines.text.get(span.clone()).unwrap_or_default();
        let mut note = Note { span, message: message.trim().to_owned(), ..Note::default() };
        note.help = match expected {
            Some("literal string") if found.is_empty() => Some("expected a value".into()),
            Some("literal string") => {
                note.suggestion = Some(quoted(found));
                Some(format!("write {}", quoted(found)))
            }
            Some(expected) => Some(format!("expected {expected}")),
            None if message == TWICE => Some(
                "a key stands once; a table that stands more than once is written [[…]]".into(),
            ),
            None => None,
        };
        self.note(note);
    }

    /// Returns whether what the parser made of the text can be looked at for more mistakes, also if
    /// it isn't TOML.
    ///
    /// It can't if a header was not understood: the keys below it would be taken for those of
    /// another table. What stands twice only for that reason is forgotten.
    pub(crate) fn can_be_read(&self) -> bool {
        let line_of = |note: &Note| self.lines.at(note.span.start).0;
        let is_in_header =
            |note: &Note| self.lines.text(line_of(note)).trim_start().starts_with('[');
        let mut notes = self.notes.borrow_mut();
        if notes.iter().any(|note| is_in_header(note) && note.message != TWICE) {
            notes.retain(|note| note.message != TWICE);
        }
        self.guesses.borrow_mut().extend(notes.iter().map(line_of));
        !notes.iter().any(is_in_header)
    }

    /// The numbers of the templates with something wrong.
    pub(crate) fn wrong_templates(&self) -> Vec<usize> {
        let mut templates: Vec<usize> =
            self.notes.borrow().iter().filter_map(|note| note.template).collect();
        templates.sort_unstable();
        templates.dedup();
        templates
    }

    /// Returns whether anything is wrong.
    pub(crate) fn has_mistakes(&self) -> bool {
        !self.notes.borrow().is_empty()
    }

    /// Returns whether anything but a template is wrong.
    pub(crate) fn has_mistakes_outside_templates(&self) -> bool {
        self.notes.borrow().iter().any(|note| note.template.is_none())
    }

    /// The line of the byte `at`, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.at(at).0 + 1
    }

    /// One mistake, and no more is looked for.
    pub(crate) fn mistake(self, span: Range<usize>, message: String) -> Mistake {
        let text = self.lines.text;
        let start = boundary(text, span.start);
        let span = start..boundary(text, span.end).max(start);
        let (line, at) = self.lines.at(start);
        let column = self.lines.text(line)[..at].chars().count();
        self.lines.mistake(self.path, span, column, message)
    }

    /// Everything that was noted, in the text's order. `names` are those of the templates, by
    /// their number.
    pub(crate) fn into_mistakes(self, names: &[String]) -> Vec<Mistake> {
        let lines = self.lines;
        let mut notes = self.notes.into_inner();
        notes.sort_by_key(|note| note.span.start);
        // Where the last mistake stood: from there characters are counted on.
        let (mut last_line, mut last_at, mut last_column) = (usize::MAX, 0, 0);
        let mut mistakes: Vec<Mistake> = Vec::with_capacity(notes.len());
        for note in notes {
            let (line, at) = lines.at(note.span.start);
            let text = lines.text(line);
            if line != last_line {
                (last_line, last_at, last_column) = (line, 0, 0);
            }
            last_column += text[last_at..at].chars().count();
            last_at = at;
            let name = note.template.and_then(|template| names.get(template));
            mistakes.push(Mistake {
                help: note.help,
                suggestion: note.suggestion,
                template: name.filter(|name| !name.is_empty()).cloned(),
                ..lines.mistake(self.path, note.span, last_column, note.message)
            });
        }
        mistakes
    }
}

/// The longest line that is shown whole, in characters.
const SHOWN: usize = 160;
/// What is shown before a mistake in a longer one.
const BEFORE: usize = 60;

/// The part of `line` around the byte `at`, which has `column` characters before it, and how many
/// characters of the part come before it.
fn part(line: &str, at: usize, column: usize) -> (String, usize) {
    let rest = line[at..].char_indices().nth(SHOWN - BEFORE).map(|(end, _)| at + end);
    if rest.is_none() && column <= BEFORE
        || line.len() <= SHOWN * 4 && line.chars().count() <= SHOWN
    {
        return (line.to_owned(), column);
    }
    let mut shown = String::new();
    let mut indent = column;
    let mut start = 0;
    if column > BEFORE {
        start = line[..at].char_indices().rev().nth(BEFORE - 1).map_or(0, |(start, _)| start);
        shown.push('…');
        indent = BEFORE + 1;
    }
    shown.push_str(&line[start..rest.unwrap_or(line.len())]);
    if rest.is_some() {
        shown.push('…');
    }
    (shown, indent)
}

/// Where each line of a text begins.
#[derive(Debug)]
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        // A byte order mark is not part of the first line.
        let first = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let rest = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(first).chain(rest).collect() }
    }

    /// The line, from 0, of the byte `at`, and the byte's offset in it.
    fn at(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        (line, self.offset_in(line, at))
    }

    /// The offset in `line` of the last character that begins at or before the byte `at`.
    fn offset_in(&self, line: usize, at: usize) -> usize {
        let text = self.text(line);
        let at = at.saturating_sub(self.starts[line]).min(text.len());
        (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
    }

    /// The mistake of what stands in `span`, which has `column` characters before it in its line.
    fn mistake(&self, path: &Path, span: Range<usize>, column: usize, message: String) -> Mistake {
        let (line, at) = self.at(span.start);
        let end = self.offset_in(line, span.end.max(span.start));
        let text = self.text(line);
        let (source_line, indent) = part(text, at, column);
        Mistake {
            path: path.to_owned(),
            line: line + 1,
            column: column + 1,
            width: text[at..end].chars().count().max(1),
            source_line,
            message,
            help: None,
            suggestion: None,
            template: None,
            indent,
        }
    }

    /// The line's text, without its end.
    fn text(&self, line: usize) -> &'a str {
        let end = self.starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        self.text[self.starts[line]..end].trim_end_matches('\r')
    }
}

/// The beginning of the character of `text` that the byte `at` is of.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake_at(text: &str, span: Range<usize>) -> Mistake {
        let source = Source::new(Path::new("/c.toml"), text, None);
        source.wrong(span, "wrong", "expected right");
        source.into_mistakes(&[]).remove(0)
    }

    #[test]
    fn the_line_is_shown_with_its_mistake_underlined() {
        let source = Source::new(Path::new("/c.toml"), "a = 1\nvcpus = 2\n", None);
        source.unknown(6..11, "key", "vcpus", &["vcpu", "vram"]);
        let mistakes = source.into_mistakes(&[]);
        assert_eq!(
            mistakes[0].to_string(),
            "unknown key \"vcpus\", did you mean \"vcpu\"?\n --> /c.toml:2:1\n  |\n\
             2 | vcpus = 2\n  | ^^^^^\n  = expected one of vcpu, vram"
        );
        assert_eq!(mistakes[0].suggestion.as_deref(), Some("vcpu"));
    }

    #[test]
    fn any_span_of_any_text_can_be_shown() {
        for text in ["é\u{7}ü = \"\"\"\nx\"\"\"", "\u{feff}a", "\u{feff}\n\r\n\r\r\n", ""] {
            for start in 0..text.len() + 3 {
                for end in 0..text.len() + 3 {
                    assert!(!mistake_at(text, start..end).to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn a_long_line_is_shown_around_the_mistake() {
        let text = format!("{}wrong{}", "é".repeat(500), "x".repeat(500));
        let mistake = mistake_at(&text, 1000..1005);
        assert_eq!((mistake.line, mistake.column, mistake.width), (1, 501, 5));
        assert_eq!(mistake.source_line, format!("…{}wrong{}…", "é".repeat(60), "x".repeat(95)),);
        assert_eq!(mistake.indent, 61);
        assert_eq!(mistake_at(&text, 0..1010).source_line, format!("{}…", "é".repeat(100)));
        let end = mistake_at(&text, 1505..1505);
        assert_eq!((end.column, end.indent), (1006, 61));
    }

    #[test]
    fn what_is_invisible_cannot_mislead() {
        let mistake = mistake_at("a\t\u{1b}[2J\u{202e}b = 1\n", 0..1);
        assert!(mistake.to_string().contains("1 | a  [2J b = 1\n"), "{mistake}");
        // The mark at a file's start has no width.
        assert_eq!(mistake_at("\u{feff}ab", 4..5).column, 2);
    }
}
