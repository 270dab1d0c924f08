//! The value of an argument on cloud-hypervisor's command line: `key=value,key=value`.
//!
//! The keys are mostly those of the API; a part of a machine gives its own file's differences.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Serialize;
use serde_json::{Map, Value};

/// Keys, each with its value as the command line spells it.
#[derive(Debug)]
#[must_use = "only `write` gives the text"]
pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    /// The plain values of a part, under their names in the API: texts, numbers, flags, and lists of
    /// texts or numbers. What is nested is left out.
    pub(crate) fn of(part: &impl Serialize) -> Self {
        match serde_json::to_value(part) {
            Ok(Value::Object(map)) => Self::plain(&map),
            // A path that isn't UTF-8, which the API takes neither.
            _ => Self(BTreeMap::new()),
        }
    }

    /// The same of an object that this crate has no type for, its limit of a rate included.
    pub(crate) fn of_object(object: &Map<String, Value>) -> Self {
        Self::plain(object).rate_limiter(object)
    }

    fn plain(object: &Map<String, Value>) -> Self {
        let spelt = |(key, value): (&String, &Value)| Some((key.clone(), spelt(value)?));
        Self(object.iter().filter_map(spelt).collect())
    }

    /// Spells a key otherwise than the API does.
    pub(crate) fn rename(mut self, from: &str, to: &str) -> Self {
        if let Some(value) = self.0.remove(from) {
            self.0.insert(to.into(), value);
        }
        self
    }

    /// Sets the value of `key`, if there is one, as it is to be spelt.
    pub(crate) fn set(mut self, key: &str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.0.insert(key.into(), value.into());
        }
        self
    }

    /// `{"bandwidth": {"size": …}, "ops": …}` of `extra` as `bw_size=…,ops_size=…`.
    pub(crate) fn rate_limiter(mut self, extra: &Map<String, Value>) -> Self {
        let limits = extra.get("rate_limiter_config").unwrap_or(&Value::Null);
        for (bucket, prefix) in [("bandwidth", "bw"), ("ops", "ops")] {
            let numbers = limits[bucket].as_object().into_iter().flatten();
            for (name, number) in numbers.filter(|(_, number)| number.is_number()) {
                self.0.insert(format!("{prefix}_{name}"), number.to_string());
            }
        }
        self
    }

    pub(crate) fn write(&self) -> OsString {
        let pairs = self.0.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(",").into()
    }
}

/// A list of pairs of a number and host CPUs, such as `[0@[1,2]]`; none if it is empty.
pub(crate) fn affinity(pairs: impl Iterator<Item = (String, String)>) -> Option<String> {
    let pairs: Vec<String> = pairs.map(|(number, cpus)| format!("{number}@{cpus}")).collect();
    (!pairs.is_empty()).then(|| format!("[{}]", pairs.join(",")))
}

/// A plain value as the command line spells it.
fn spelt(value: &Value) -> Option<String> {
    Some(match value {
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quote(text),
        Value::Array(list) => {
            let is_plain = |value: &Value| value.is_string() || value.is_number();
            let all = list.iter().all(is_plain);
            let texts = list.iter().filter_map(spelt);
            return all.then(|| format!("[{}]", texts.collect::<Vec<_>>().join(",")));
        }
        Value::Null | Value::Object(_) => return None,
    })
}

/// Quotes a value whose characters the option parser would take for its own.
pub(crate) fn quote(text: &str) -> String {
    if text.contains([',', '[', ']', '"']) {
        // Inside quotes, a doubled quote stands for one.
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
