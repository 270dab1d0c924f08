//! YAML as PyYAML reads it, which is what cloud-init reads a `#cloud-config` with.
//!
//! One mistake, and cloud-init goes on without the whole file: the guest has no user and no key. So
//! what it refuses is refused here, with its line. The grammar is saphyr's, of YAML 1.2; what PyYAML,
//! of YAML 1.1, sees otherwise is looked for besides. Longer than other files by its list of such texts, in
//! the tests.
//!
//! # References
//!
//! YAML 1.1; PyYAML 6.0, `reader.py`, `scanner.py`, `composer.py`, `constructor.py`, `resolver.py`.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::source::Source;
use crate::yaml_node::Node;
use crate::yaml_scalar;
use crate::yaml_text::{self, Places};

/// How deep collections may lie in each other: Python's stack ends at a few hundred.
const DEEPEST: usize = 100;
/// How long a key may be, in characters, unless a question mark stands before it.
const LONGEST_KEY: usize = 1024;

/// Why PyYAML would fail, and where.
#[derive(Debug)]
pub(crate) struct Wrong {
    at: Range<usize>,
    message: String,
    help: &'static str,
}

impl Wrong {
    fn new(at: Range<usize>, message: impl Into<String>, help: &'static str) -> Self {
        Self { at, message: message.into(), help }
    }
}

/// Reads `text`, and notes the first thing in it by which PyYAML would fail. None then, and of a text
/// without a value.
pub(crate) fn read(text: &str, source: &Source<'_>) -> Option<Rc<Node>> {
    match parse(text) {
        Ok(node) => node,
        Err(Wrong { at, message, help }) => {
            source.wrong(at, message, help);
            None
        }
    }
}

/// Reads `text`; none if there is no value in it.
///
/// # Errors
///
/// The first thing by which PyYAML would fail.
pub(crate) fn parse(text: &str) -> Result<Option<Rc<Node>>, Wrong> {
    if let Some((at, character)) = yaml_text::unprintable(text) {
        let message = format!("the character U+{:04X} cannot stand in YAML", u32::from(character));
        let help = "in quotes it is written as an escape: \"\\x07\", \"\\u0085\"";
        return Err(Wrong::new(at..at + character.len_utf8(), message, help));
    }
    if let Some((at, message)) = yaml_text::wrong_start(text) {
        return Err(Wrong::new(at, message, "what cloud-init reads needs no such line"));
    }
    let mut reader = Reader::new(text);
    let read = reader.read();
    let end = read.as_ref().err().map_or(text.len(), |wrong| wrong.at.start);
    // What the parser says of a tab leads astray, if it says anything.
    if let Some(at) = yaml_text::separating_tab(text, &reader.scalars, end) {
        let help = "YAML is indented and separated by blanks";
        return Err(Wrong::new(at..at + 1, "a tab outside of quotes", help));
    }
    read.map(|()| reader.root)
}

/// A collection that is open.
#[derive(Debug)]
struct Open {
    is_mapping: bool,
    /// It is written in brackets.
    is_flow: bool,
    anchor: usize,
    /// How deep the collections in it lie in each other.
    depth: usize,
    /// The values so far, each with its place; in a mapping keys and values in turn.
    values: Vec<(Rc<Node>, Range<usize>)>,
    at: Range<usize>,
}

#[derive(Debug)]
struct Reader<'a> {
    text: &'a str,
    places: Places,
    open: Vec<Open>,
    /// What aliases stand for, and how deep it is.
    anchors: HashMap<usize, (Rc<Node>, usize)>,
    names: HashSet<&'a str>,
    /// Where the scalars so far stand.
    scalars: Vec<(Range<usize>, ScalarStyle)>,
    documents: usize,
    root: Option<Rc<Node>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            places: Places::new(text),
            open: Vec::new(),
            anchors: HashMap::new(),
            names: HashSet::new(),
            scalars: Vec::new(),
            documents: 0,
            root: None,
        }
    }

    fn range(&self, span: &Span) -> Range<usize> {
        self.places.byte(span.start.index())..self.places.byte(span.end.index())
    }

    fn read(&mut self) -> Result<(), Wrong> {
        for event in Parser::new_from_str(self.text) {
            let (event, span) = event.map_err(|error| {
                let at = self.places.byte(error.marker().index());
                let help = if error.info().contains("indent") {
                    "what belongs to a key is indented further than it"
                } else {
                    ""
                };
                Wrong::new(at..at, format!("this is not YAML: {}", error.info()), help)
            })?;
            let at = self.range(&span);
            match event {
                Event::DocumentStart(_) => {
                    self.documents += 1;
                    // Where the first one begins, there is nothing before it but directives.
                    if let Some(line) = yaml_text::other_version(self.text, at.start) {
                        let help = "cloud-init reads version 1.1: leave out this line";
                        return Err(Wrong::new(line, "another version of YAML", help));
                    }
                    if self.documents > 1 {
                        let help = "cloud-init takes one: leave out this line, or make two files";
                        return Err(Wrong::new(at, "a second document", help));
                    }
                }
                Event::SequenceStart(anchor, tag) => {
                    known_tag(tag.as_deref(), &["seq"], &at)?;
                    self.enter(false, anchor, at)?;
                }
                Event::MappingStart(anchor, tag) => {
                    known_tag(tag.as_deref(), &["map"], &at)?;
                    self.enter(true, anchor, at)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.leave()?,
                Event::Scalar(value, style, anchor, tag) => {
                    let tag = known_tag(tag.as_deref(), &yaml_scalar::TAGS, &at)?;
                    let is_plain = style == ScalarStyle::Plain && tag.is_none();
                    let is_key = self.is_key_next();
                    let end = yaml_text::end_of_scalar(self.text, &at, style);
                    let at = at.start..end;
                    self.check_place(&value, style, &at)?;
                    self.check_anchor(anchor, &at)?;
                    if let Some(reason) = yaml_scalar::reason_against(&value, tag, is_plain, is_key)
                    {
                        return Err(Wrong::new(at, reason, "in quotes it is a text"));
                    }
                    if !at.is_empty() {
                        self.scalars.push((at.clone(), style));
                    }
                    let node = Node::Scalar { text: value.into_owned(), is_plain };
                    self.add(Rc::new(node), 0, anchor, at)?;
                }
                Event::Alias(anchor) => {
                    let Some((node, depth)) = self.anchors.get(&anchor).cloned() else {
                        let message = "this stands for a value that it is itself a part of";
                        return Err(Wrong::new(at, message, ""));
                    };
                    self.add(node, depth, 0, at)?;
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    /// Whether what comes next is the key of a mapping.
    fn is_key_next(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_mapping && open.values.len() % 2 == 0)
    }

    /// Whether what comes next stands in brackets.
    fn is_flow(&self) -> bool {
        self.open.last().is_some_and(|open| open.is_flow)
    }

    /// Fails for a scalar where PyYAML has none, or none of this kind.
    fn check_place(&self, value: &str, style: ScalarStyle, at: &Range<usize>) -> Result<(), Wrong> {
        let (is_flow, is_plain) = (self.is_flow(), style == ScalarStyle::Plain);
        let before = self.text.get(..at.start).unwrap_or_default().trim_end();
        let is_simple_key = self.is_key_next() && !before.ends_with('?');
        let written = self.text.get(at.clone()).unwrap_or_default();
        // In brackets the colon may be on a line of its own, for another reader.
        let after = self.text.get(at.end..).unwrap_or_default();
        let gap = &after[..after.len() - after.trim_start().len()];
        let is_broken = written.trim_end().contains(['\n', '\r'])
            || gap.contains(['\n', '\r']) && after.trim_start().starts_with(':');
        let message = match style {
            ScalarStyle::Literal | ScalarStyle::Folded if is_flow => "a block of text in brackets",
            ScalarStyle::Plain if is_flow && value.contains('?') => "a question mark in brackets",
            ScalarStyle::Plain if is_flow && value.starts_with([':', '|', '>']) => {
                "in brackets no text without quotes begins so"
            }
            _ if !is_simple_key => return Ok(()),
            _ if is_plain && value.is_empty() => "a value without a key",
            _ if is_broken => "a key of more than one line",
            _ if written.chars().count() > LONGEST_KEY => "a key of more than 1024 characters",
            _ => return Ok(()),
        };
        Err(Wrong::new(at.clone(), message, "in quotes it could stand here"))
    }

    /// Fails if the anchor of the value at `at` has the name of another one.
    fn check_anchor(&mut self, anchor: usize, at: &Range<usize>) -> Result<(), Wrong> {
        if anchor == 0 {
            return Ok(());
        }
        let after = self.scalars.last().map_or(0, |(range, _)| range.end);
        let Ok(name) = yaml_text::anchor(self.text, after, at) else {
            return Err(Wrong::new(at.clone(), "an anchor without a name of ASCII letters", ""));
        };
        if self.names.insert(name) {
            return Ok(());
        }
        Err(Wrong::new(at.clone(), format!("a second anchor &{name}"), ""))
    }

    fn enter(&mut self, is_mapping: bool, anchor: usize, at: Range<usize>) -> Result<(), Wrong> {
        if self.open.len() == DEEPEST {
            return Err(too_deep(at));
        }
        if self.is_key_next() {
            return Err(self.unhashable(at));
        }
        self.check_anchor(anchor, &at)?;
        let is_flow = self.is_flow() || self.text[at.start..].starts_with(['[', '{']);
        self.open.push(Open { is_mapping, is_flow, anchor, depth: 0, values: Vec::new(), at });
        Ok(())
    }

    /// A collection as a key: what `{{ x }}` is without quotes.
    fn unhashable(&self, at: Range<usize>) -> Wrong {
        let before = self.text.get(..at.start).unwrap_or_default();
        if before.ends_with('{') && self.text[at.start..].starts_with('{') {
            let help = "templates (## template: jinja) are not taken: write the value itself";
            return Wrong::new(at.start - 1..at.start + 1, "{{ }} without quotes is no text", help);
        }
        Wrong::new(at, "a list or mapping cannot be a key", "")
    }

    fn leave(&mut self) -> Result<(), Wrong> {
        let Some(Open { is_mapping, anchor, depth, values, at, .. }) = self.open.pop() else {
            return Ok(());
        };
        let node = if is_mapping {
            let mut entries = Vec::with_capacity(values.len() / 2);
            let mut values = values.into_iter();
            while let (Some((key, _)), Some((value, at))) = (values.next(), values.next()) {
                if key.is_merge() && !value.can_be_merged() {
                    return Err(Wrong::new(at, "only mappings can be merged by <<", ""));
                }
                entries.push((key, value));
            }
            Node::Mapping(entries)
        } else {
            Node::Sequence(values.into_iter().map(|(value, _)| value).collect())
        };
        self.add(Rc::new(node), depth + 1, anchor, at)
    }

    fn add(
        &mut self,
        node: Rc<Node>,
        depth: usize,
        anchor: usize,
        at: Range<usize>,
    ) -> Result<(), Wrong> {
        if self.is_key_next() && node.text().is_none() {
            return Err(self.unhashable(at));
        }
        if depth + self.open.len() > DEEPEST {
            return Err(too_deep(at));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), depth));
        }
        match self.open.last_mut() {
            Some(open) => {
                open.depth = open.depth.max(depth);
                open.values.push((node, at));
            }
            None => self.root = Some(node),
        }
        Ok(())
    }
}

fn too_deep(at: Range<usize>) -> Wrong {
    Wrong::new(at, format!("more than {DEEPEST} collections in each other"), "")
}

/// The name of the tag of the value at `at`, which is one of `known`.
fn known_tag<'t>(
    tag: Option<&'t Tag>,
    known: &[&str],
    at: &Range<usize>,
) -> Result<Option<&'t str>, Wrong> {
    yaml_scalar::known_tag(tag, known).map_err(|tag| {
        let message = format!("cloud-init makes nothing of the tag {tag}");
        Wrong::new(at.clone(), message, "in quotes it would be text")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The line and the message, if there is a mistake.
    fn wrong(text: &str) -> Option<(usize, String)> {
        let path = Path::new("/u");
        let source = Source::new(path, text, None);
        drop(read(text, &source));
        let mut mistakes = source.into_mistakes(&[]);
        assert!(mistakes.len() <= 1, "{mistakes:?}");
        mistakes.pop().map(|mistake| (mistake.line, mistake.message))
    }

    #[test]
    fn what_pyyaml_refuses_is_refused_with_its_line() {
        let deep = format!("a: {}{}", "[".repeat(120), "]".repeat(120));
        let links = (1..200).map(|n| format!("k{n}: &a{n} {{<<: *a{}}}\n", n - 1));
        let chain = format!("k0: &a0 {{x: 1}}\n{}", links.collect::<String>());
        for (text, line, message) in [
            ("runcmd:\n - echo a\n\t\n - echo b\n", 3, "a tab outside of quotes"),
            ("a:\tb\n", 1, "a tab outside"),
            ("a: b\t# comment\n", 1, "a tab outside"),
            ("a: b\nc: 'd'\t\n", 2, "a tab outside"),
            ("a: [1,\t2]\n", 1, "a tab outside"),
            ("a: b\tc\n", 1, "a tab outside"),
            ("a:\n\tb: 1\n", 2, "a tab outside"),
            ("a: |\n  x\n\ty\n", 3, "a tab outside"),
            ("a: 1\n---\nb: 2\n", 2, "a second document"),
            ("a: 1\n---\n", 2, "a second document"),
            ("# a\n%YAML 2.0\n---\na: 1\n", 2, "another version"),
            ("a: 1\nhostname: {{ v1.local_hostname }}\n", 2, "{{ }} without quotes"),
            ("? [a, b]\n: 1\n", 1, "cannot be a key"),
            ("x: &a [1]\n*a : 2\n", 2, "cannot be a key"),
            ("a: !Ref x\n", 1, "the tag !Ref"),
            ("a: !!python/object:os.system x\n", 1, "the tag !!python/object:os.system"),
            ("a: 1\nb: \"\u{7}\"\n", 2, "U+0007"),
            ("# \u{9b}\na: 1\n", 1, "U+009B"),
            ("a: &x [*x]\n", 1, "itself a part of"),
            ("a: *x\n", 1, "not YAML"),
            ("a: 2024-02-30\n", 1, "no date"),
            ("a: =\n", 1, "\"=\""),
            ("a: &x 1\nb: &x 2\n", 2, "a second anchor &x"),
            ("a: [b,|\n c]\n", 1, "begins so"),
            ("a: {b\n: c}\n", 1, "a key of more than one line"),
            ("a: [:b]\n", 1, "begins so"),
            ("a: [http://b/?c]\n", 1, "a question mark in brackets"),
            ("a: &b{c: d}\n", 1, "an anchor without a name"),
            ("a: {b: c,: d}\n", 1, "a value without a key"),
            ("a: {b\n  c: d}\n", 1, "a key of more than one line"),
            (": a\n", 1, "a value without a key"),
            ("a: b\u{85}c\n", 1, "U+0085"),
            ("<<: 3\n", 1, "only mappings can be merged"),
            ("a: !!int x\n", 1, "no int"),
            ("# a\n%Y`AML 1.1\n---\na: 1\n", 2, "a directive without a name"),
            ("# a\n\n...\na: 1\n", 3, "the end of a document that has not begun"),
            ("# a\n\u{feff}# b\na: 1\n", 2, "U+FEFF"),
            (&deep, 1, "more than 100"),
            (&chain, 100, "more than 100"),
        ] {
            let found = wrong(text);
            let fits =
                found.as_ref().is_some_and(|(at, told)| *at == line && told.contains(message));
            assert!(fits, "{text:?}: {found:?}, and not {line} {message:?}");
        }
    }

    #[test]
    fn what_pyyaml_takes_is_taken() {
        for text in [
            "a: 'tab\there'\nb: \"tab\there\"\n# a\tcomment\n",
            "a: b #\tcomment\n",
            "write_files:\n - path: /Makefile\n   content: |\n     all:\n     \ttrue\n\n - path: /b\n",
            "a: >-\n  folded\ttab\n  more\nb: |2\n   x\ty\n",
            "---\na: 1\n...\n",
            "a: '{{ x }}'\nb: !!str 3\nc: !!binary aGk=\n",
            "base: &b {x: 1}\nmore: {<<: *b, y: 2}\nlist: [{<<: [*b]}]\n",
            "a: 2024-02-29\nb: 2024-02-29T10:00:00Z\nc: 12:30:45\nd: 0x1F\n",
            "a: büro\u{a0}🦀\n",
            "a: yes\nb: ~\nc:\n",
        ] {
            assert_eq!(wrong(text), None, "{text:?}");
        }
    }
}
