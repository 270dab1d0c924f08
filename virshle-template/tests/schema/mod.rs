//! The JSON schemas for editors, held against the parser: what it takes they take, and they refuse
//! what a schema can know to be a mistake.
//!
//! The validator knows what the two files use of JSON Schema (draft 7), and panics at the rest.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex_lite::Regex;
use serde_json::Value;

/// What the parser says of mistakes that a schema can know.
const KNOWABLE: [&str; 10] = [
    "unknown key ",
    "unknown clone ",
    "unknown datapath ",
    "unknown restart ",
    " is out of range",
    "] has no \"",
    " is not a unit of size",
    " is not a MAC address",
    " cannot be a name: ",
    " cannot be a network device: ",
];

/// What the parser says of a value of another type, but for a date, which is a text in JSON.
const TYPES: [&str; 6] = [
    " is a text",
    " is a whole number",
    " is a fraction",
    " is true or false",
    " is a list",
    " is a table",
];

/// One of the schemas.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) root: Value,
    /// The patterns that were compiled already: the tests have thousands of texts.
    patterns: Mutex<HashMap<String, Regex>>,
}

impl Schema {
    /// That of the configuration.
    pub(crate) fn config() -> &'static Self {
        static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read("config"));
        &SCHEMA
    }

    /// That of user data.
    pub(crate) fn user_data() -> &'static Self {
        static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read("user-data"));
        &SCHEMA
    }

    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
        let text = std::fs::read_to_string(folder.join(format!("{name}.schema.json"))).unwrap();
        Self { root: serde_json::from_str(&text).unwrap(), patterns: Mutex::default() }
    }

    /// Asserts that the schema and the parser agree on a whole file, of which the parser reports
    /// `mistakes`.
    #[track_caller]
    pub(crate) fn assert_agrees(&self, text: &str, mistakes: &[String]) {
        let Some(value) = json(text) else { return };
        assert_agree(text, &self.faults(&self.root, &value, ""), mistakes);
    }

    fn fits(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = patterns.entry(pattern.to_owned());
        compiled.or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text)
    }

    /// What is wrong with `value`, by `schema`.
    pub(crate) fn faults(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(format!("{place}: {what}"));
        let is_valid = |schema: &Value| self.faults(schema, value, place).is_empty();
        let length = value.as_str().map(|text| text.chars().count() as u64);
        let items = value.as_array();
        let entries = value.as_object();
        for (keyword, wanted) in schema.as_object().unwrap() {
            let number = || wanted.as_f64().unwrap();
            let count = || wanted.as_u64().unwrap();
            let is_fine = match keyword.as_str() {
                "$schema" | "$id" | "title" | "description" | "default" | "definitions" => true,
                "$ref" => {
                    let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                    is_valid(self.root.pointer(pointer).unwrap())
                }
                "allOf" => wanted.as_array().unwrap().iter().all(is_valid),
                "anyOf" => wanted.as_array().unwrap().iter().any(is_valid),
                "not" => !is_valid(wanted),
                "type" => is_of_type(value, wanted.as_str().unwrap()),
                "enum" => wanted.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|value| value >= number()),
                "maximum" => value.as_f64().is_none_or(|value| value <= number()),
                "minLength" => length.is_none_or(|length| length >= count()),
                "maxLength" => length.is_none_or(|length| length <= count()),
                "minItems" => items.is_none_or(|items| items.len() as u64 >= count()),
                "minProperties" => entries.is_none_or(|entries| entries.len() as u64 >= count()),
                "maxProperties" => entries.is_none_or(|entries| entries.len() as u64 <= count()),
                "pattern" => {
                    value.as_str().is_none_or(|text| self.fits(wanted.as_str().unwrap(), text))
                }
                "items" => items
                    .into_iter()
                    .flatten()
                    .all(|item| self.faults(wanted, item, place).is_empty()),
                "required" => entries.is_none_or(|entries| {
                    wanted
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|key| entries.contains_key(key.as_str().unwrap()))
                }),
                "dependencies" => wanted.as_object().unwrap().iter().all(|(key, needed)| {
                    let has = |key: &str| entries.is_some_and(|entries| entries.contains_key(key));
                    let needed = needed.as_array().unwrap();
                    !has(key) || needed.iter().all(|key| has(key.as_str().unwrap()))
                }),
                "additionalProperties" => {
                    assert_eq!(*wanted, Value::Bool(false));
                    entries
                        .into_iter()
                        .flatten()
                        .all(|(key, _)| !schema["properties"][key].is_null())
                }
                "properties" => entries.into_iter().flatten().all(|(key, value)| {
                    let schema = wanted.get(key);
                    schema.is_none_or(|schema| self.faults(schema, value, key).is_empty())
                }),
                other => panic!("the validator does not know {other}"),
            };
            if !is_fine {
                fault(format!("{keyword} {wanted}").chars().take(120).collect());
            }
        }
        faults
    }
}

/// Asserts that there are faults where there are mistakes, as far as a schema can know them.
#[track_caller]
pub(crate) fn assert_agree(text: &str, faults: &[String], mistakes: &[String]) {
    if mistakes.is_empty() {
        assert!(faults.is_empty(), "the schema refuses what is right:\n{text}\n{faults:?}");
    }
    let knows = |mistake: &&String| {
        // `1e3` is a number like any other in JSON.
        !mistake.starts_with("\"e") && KNOWABLE.iter().any(|part| mistake.contains(part))
            || TYPES.iter().any(|part| mistake.ends_with(part))
    };
    if let Some(mistake) = mistakes.iter().find(knows) {
        assert!(!faults.is_empty(), "the schema takes what is wrong ({mistake}):\n{text}");
    }
}

/// `text` as an editor's validator sees it; nothing if it is not TOML, or has numbers beyond JSON's.
pub(crate) fn json(text: &str) -> Option<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Some(converted(toml::from_str::<toml::Table>(text).ok()?.into()))
}

fn converted(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        // A fraction that comes to a whole number is a fraction to the parser, and here.
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(is_true) => is_true.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(converted).collect(),
        toml::Value::Table(table) => {
            table.into_iter().map(|(key, value)| (key, converted(value))).collect()
        }
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the validator does not know the type {other}"),
    }
}
