//! A table of a file that a person wrote, read key by key: every mistake is noted, none ends the
//! reading.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Mistake;
use crate::size::{ByteSize, FORMS};
use crate::suggestion::nearest;

/// The file being read, and what was found wrong with it so far.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, mistakes: RefCell::default() }
    }

    /// Notes a mistake in the bytes `span`.
    pub(crate) fn mistake(&self, span: Range<usize>, message: String, help: Option<String>) {
        let mistake = Mistake::at(self.path, self.text, span, message, help);
        self.mistakes.borrow_mut().push(mistake);
    }

    /// Notes again what was taken.
    pub(crate) fn put_back(&self, mistakes: Vec<Mistake>) {
        self.mistakes.borrow_mut().extend(mistakes);
    }

    /// Takes what was noted since the last time, in the file's order.
    pub(crate) fn take(&self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.take();
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes
    }
}

/// A value with the place it stands at.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// A table, of which each known key is asked for once.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    pub(crate) source: &'a Source<'a>,
    /// What it is called in messages: `template.vm`.
    name: &'a str,
    table: &'a DeTable<'a>,
    /// Where the table itself is written.
    pub(crate) span: Range<usize>,
    known: RefCell<Vec<&'static str>>,
}

type Value<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> Section<'a> {
    pub(crate) fn new(
        source: &'a Source<'a>,
        name: &'a str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        Self { source, name, table, span, known: RefCell::default() }
    }

    /// The value of `key`, which is a known one from now on.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.known.borrow_mut().push(key);
        self.table.get(key)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The name of each key that is there, with its value.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Placed<&'a str>, Value<'a>)> {
        self.table
            .iter()
            .map(|(key, value)| (Placed { value: key.get_ref().as_ref(), span: key.span() }, value))
    }

    fn wrong_type(&self, key: &str, value: Value<'_>, expected: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let help = Some(format!("expected {expected}, found {found}"));
        self.source.mistake(value.span(), format!("{key:?} has the wrong type"), help);
    }

    /// Notes that `value` of `key` is wrong.
    pub(crate) fn wrong(&self, span: Range<usize>, message: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.source.mistake(span, message.into(), help);
    }

    /// Notes that a key that must be there is not.
    pub(crate) fn missing(&self, key: &str, example: &str) {
        let message = format!("missing key {key:?} in [{}]", self.name);
        self.source.mistake(self.span.clone(), message, Some(format!("add for example {example}")));
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<Placed<&'a str>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Placed { value: text.as_ref(), span: value.span() }),
            _ => {
                self.wrong_type(key, value, "a text in quotes");
                None
            }
        }
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        if value.get_ref().as_bool().is_none() {
            self.wrong_type(key, value, "true or false");
        }
        value.get_ref().as_bool()
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn integer(&self, key: &'static str, least: u64, most: u64) -> Option<Placed<u64>> {
        let value = self.get(key)?;
        self.integer_of(key, value, least, most)
    }

    pub(crate) fn integer_of(
        &self,
        key: &str,
        value: Value<'_>,
        least: u64,
        most: u64,
    ) -> Option<Placed<u64>> {
        let expected = format!("a whole number from {least} to {most}");
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, &expected);
            return None;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (least..=most).contains(&number) => {
                Some(Placed { value: number, span: value.span() })
            }
            _ => {
                self.wrong(value.span(), format!("{key:?} is out of range"), &expected);
                None
            }
        }
    }

    /// A size: a text with a unit, or a bare number of GiB where `bare_gib` says so.
    pub(crate) fn size_of(
        &self,
        key: &str,
        value: Value<'_>,
        bare_gib: bool,
    ) -> Option<Placed<ByteSize>> {
        let place = |size| Placed { value: size, span: value.span() };
        let expected = if bare_gib { format!("a number of GiB, or {FORMS}") } else { FORMS.into() };
        match value.get_ref() {
            DeValue::Integer(_) if bare_gib => {
                let gib = self.integer_of(key, value, 1, 1 << 24)?;
                ByteSize::from_gib(gib.value).map(place)
            }
            DeValue::String(text) => {
                let bare = bare_gib && text.bytes().all(|byte| byte.is_ascii_digit());
                let text = if bare { format!("{text}GiB") } else { text.to_string() };
                match text.parse() {
                    Ok(size) => Some(place(size)),
                    Err(error) => {
                        self.wrong(
                            value.span(),
                            error.to_string(),
                            &format!("expected {expected}"),
                        );
                        None
                    }
                }
            }
            _ => {
                self.wrong_type(key, value, &format!("a text: {expected}"));
                None
            }
        }
    }

    pub(crate) fn size(&self, key: &'static str) -> Option<Placed<ByteSize>> {
        let value = self.get(key)?;
        self.size_of(key, value, false)
    }

    /// A path, absolute: `~` is the caller's home, and a relative one starts at the file's folder.
    pub(crate) fn path(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.string(key)?;
        match crate::path::expand(text.value, self.source.path) {
            Ok(path) => Some(path),
            Err(reason) => {
                self.wrong(text.span, format!("{key:?} is not a path: {reason}"), "");
                None
            }
        }
    }

    /// A list of texts; a single text stands for a list of one.
    pub(crate) fn strings(&self, key: &'static str) -> Vec<Placed<&'a str>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let items: Vec<Value<'a>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => {
                    texts.push(Placed { value: text.as_ref(), span: item.span() });
                }
                _ => self.wrong_type(key, item, "a text in quotes, or a list of them"),
            }
        }
        texts
    }

    /// One of the `words`.
    pub(crate) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let help = suggest(text.value, &known);
            self.wrong(text.span, format!("unknown {key} {:?}", text.value), &help);
        }
        found.map(|(_, value)| *value)
    }

    /// The table at `key`, under the name `name` for messages.
    pub(crate) fn section(&self, key: &'static str, name: &'a str) -> Option<Section<'a>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.source, name, table, value.span())),
            _ => {
                self.wrong_type(key, value, "a table");
                None
            }
        }
    }

    /// The tables of the list at `key`.
    pub(crate) fn sections(&self, key: &'static str, name: &'a str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong_type(key, value, &format!("a list of tables: write [[{name}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Section::new(self.source, name, table, item.span()));
                }
                _ => self.wrong_type(key, item, "a table"),
            }
        }
        sections
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(self) {
        let known = self.known.into_inner();
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let message = format!("unknown key {name:?} in [{}]", self.name);
                let help = Some(suggest(name, &known));
                self.source.mistake(key.span(), message, help);
            }
        }
    }
}

/// The nearest of the known words, or all of them.
pub(crate) fn suggest(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!("expected one of {}", known.join(", ")),
    }
}
