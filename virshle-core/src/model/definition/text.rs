//! Values that are text in a definition: for `#[serde(with = "text")]`.

use std::fmt::Display;
use std::path::{Component, Path};
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<T: Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// A name that becomes that of a file in the machine's directory, and of none elsewhere.
pub(crate) fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let mut parts = Path::new(&name).components();
    let is_one = matches!(parts.next(), Some(Component::Normal(part)) if part == name.as_str());
    if is_one && parts.next().is_none() && !name.contains('\0') {
        return Ok(name);
    }
    Err(D::Error::custom(format!("{name:?} cannot be the name of a file")))
}
