//! A table of a file that a person wrote, read key by key: every mistake is noted, none ends the
//! reading.

use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::size::{ByteSize, FORMS};
use crate::source::Source;
use crate::suggestion::quoted;

/// A value with the place it stands at.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// A value as the parser gives it.
pub(crate) type Value<'a> = &'a Spanned<DeValue<'a>>;

/// A table, of which each known key is asked for, and which is then finished.
#[derive(Debug)]
#[must_use = "only `finish` notes the unknown keys"]
pub(crate) struct Section<'a> {
    pub(crate) source: &'a Source<'a>,
    /// What it is called in messages: `template.vm`.
    name: &'a str,
    table: &'a DeTable<'a>,
    /// Where the table itself is written.
    pub(crate) span: Range<usize>,
    known: RefCell<Vec<&'static str>>,
    missing: RefCell<Vec<(&'static str, &'static str)>>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(
        source: &'a Source<'a>,
        name: &'a str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        let (known, missing) = (RefCell::default(), RefCell::default());
        Self { source, name, table, span, known, missing }
    }

    /// The value of `key`, which is a known one from now on.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.table.get(key)
    }

    /// The value of `key`, which has to be there: `example` shows how.
    pub(crate) fn require(&self, key: &'static str, example: &'static str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.missing.borrow_mut().push((key, example));
        }
        value
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where `key` is written; the table's own place if it isn't there.
    pub(crate) fn span_of(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// The name of each key that is there, with its value, in the file's order.
    pub(crate) fn entries(&self) -> Vec<(Placed<&'a str>, Value<'a>)> {
        let place = |key: &'a Spanned<_>| Placed { value: text_of(key), span: key.span() };
        let mut entries: Vec<_> =
            self.table.iter().map(|(key, value)| (place(key), value)).collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    /// Notes that the text in `span` is wrong.
    pub(crate) fn wrong(&self, span: Range<usize>, message: impl Into<String>, help: &str) {
        self.source.wrong(span, message, help);
    }

    pub(crate) fn wrong_type(&self, key: &str, value: Value<'_>, expected: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{key:?} is {found}");
        self.wrong(value.span(), message, &format!("expected {expected}"));
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<Placed<&'a str>> {
        let value = self.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            self.wrong_type(key, value, "a text in quotes");
            return None;
        };
        Some(Placed { value: text.as_ref(), span: value.span() })
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(key, value, "true or false, without quotes");
        }
        boolean
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn integer(&self, key: &'static str, least: u64, most: u64) -> Option<Placed<u64>> {
        self.integer_of(key, self.get(key)?, least, most)
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
                let message = format!("{key:?} is out of range");
                self.wrong(value.span(), message, &format!("expected {expected}"));
                None
            }
        }
    }

    /// Whole numbers from `least` to `most`, in a list of one at least.
    pub(crate) fn integers(&self, key: &'static str, least: u64, most: u64) -> Vec<Placed<u64>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, "a list of whole numbers");
            return Vec::new();
        };
        if items.is_empty() {
            let message = format!("{key:?} is empty");
            self.wrong(value.span(), message, "name one at least, or leave it away");
        }
        items.iter().filter_map(|item| self.integer_of(key, item, least, most)).collect()
    }

    /// A size in a text, with its unit.
    pub(crate) fn size(&self, key: &'static str) -> Option<Placed<ByteSize>> {
        let value = self.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            let integer = value.get_ref().as_integer().filter(|integer| integer.radix() == 10);
            let example = integer.map_or("50", |integer| integer.as_str());
            let expected = format!("a text in quotes with the unit, such as \"{example}G\"");
            self.wrong_type(key, value, &expected);
            return None;
        };
        self.size_in(text, value, FORMS)
    }

    /// A size as [`size`](Self::size), or a number of GiB, with quotes or without.
    pub(crate) fn size_or_gib(&self, key: &str, value: Value<'_>) -> Option<Placed<ByteSize>> {
        let expected = format!("a number of GiB, or {FORMS}");
        let number = match value.get_ref() {
            DeValue::String(text) => {
                let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                if text.is_empty() || !is_number {
                    return self.size_in(text, value, &expected);
                }
                text.to_string()
            }
            DeValue::Integer(integer) => {
                match u64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(number) => number.to_string(),
                    Err(_) => integer.as_str().to_owned(),
                }
            }
            DeValue::Float(float) => float.as_str().to_owned(),
            _ => {
                self.wrong_type(key, value, &expected);
                return None;
            }
        };
        self.size_in(&format!("{number}GiB"), value, &expected)
    }

    fn size_in(&self, text: &str, value: Value<'_>, expected: &str) -> Option<Placed<ByteSize>> {
        match text.parse() {
            Ok(size) => Some(Placed { value: size, span: value.span() }),
            Err(error) => {
                let error: crate::InvalidSize = error;
                self.wrong(value.span(), error.to_string(), &format!("expected {expected}"));
                None
            }
        }
    }

    /// A path, absolute: `~` is the caller's home, and a relative one starts at the file's
    /// directory.
    pub(crate) fn path(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.string(key)?;
        self.path_in(text.value, text.span)
    }

    /// A program: a path, or a name without a slash, which is looked up in `PATH` as a shell does.
    pub(crate) fn program(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.string(key)?;
        let is_name = !text.value.is_empty() && !text.value.contains(['/', '\0']);
        if is_name && !text.value.starts_with('~') && text.value != "." && text.value != ".." {
            return Some(text.value.into());
        }
        self.path_in(text.value, text.span)
    }

    pub(crate) fn path_in(&self, text: &str, span: Range<usize>) -> Option<PathBuf> {
        match crate::path::expand(text, self.source.path, self.source.home.as_deref()) {
            Ok(path) => Some(path),
            Err(reason) => {
                self.wrong(span, format!("{} is no path: {reason}", quoted(text)), "");
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

    /// One of the `names`.
    pub(crate) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.source.unknown(text.span, key, text.value, &known);
        }
        found.map(|(_, value)| *value)
    }

    /// The table at `key`, under the name `name` for messages.
    pub(crate) fn section(&self, key: &'static str, name: &'a str) -> Option<Section<'a>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.source, name, table, value.span())),
            _ => {
                self.wrong_type(key, value, &format!("a table: [{name}]"));
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
                _ => self.wrong_type(key, item, &format!("a table: [[{name}]]")),
            }
        }
        sections
    }

    /// Notes every unknown key, and every required one that isn't there.
    pub(crate) fn finish(self) {
        let known = self.known.into_inner();
        let mut meant = Vec::new();
        for key in self.table.keys() {
            let word = text_of(key);
            if !known.contains(&word) {
                meant.extend(self.source.unknown(key.span(), "key", word, &known));
            }
        }
        for (key, example) in self.missing.into_inner() {
            // A slip in a key is one mistake, and not also the lack of the right one.
            if !meant.contains(&key) {
                let message = format!("[{}] has no {key:?}", self.name);
                self.source.lacks(self.span.clone(), message, &format!("add {example}"));
            }
        }
    }
}

fn text_of<'a>(key: &'a Spanned<std::borrow::Cow<'a, str>>) -> &'a str {
    key.get_ref().as_ref()
}
