//! A column's value, as it goes over the wire.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::Uuid;

/// The columns of a row, by name.
pub type Row = BTreeMap<String, Value>;

/// A single value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Atom {
    /// A 64-bit integer.
    Integer(i64),
    /// A real number; one without a fraction may arrive as an integer.
    Real(f64),
    /// A truth value.
    Boolean(bool),
    /// Text.
    String(String),
    /// A row.
    Uuid(Uuid),
    /// A row inserted by this transaction under this name.
    NamedUuid(String),
}

/// A column's value.
///
/// A set of exactly one element travels as the bare element, so [`Value::Atom`] is also what a set
/// of one looks like, and an optional column is a set of none or one: read with
/// [`atoms`](Self::atoms) or the `as_…` methods, which don't care.
///
/// # References
///
/// RFC 7047, section 5.1.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// One value, or a set of exactly one.
    Atom(Atom),
    /// A set.
    Set(Vec<Atom>),
    /// Pairs of key and value.
    Map(Vec<(Atom, Atom)>),
}

impl Value {
    /// A set of these.
    pub fn set(atoms: impl IntoIterator<Item = impl Into<Atom>>) -> Self {
        Self::Set(atoms.into_iter().map(Into::into).collect())
    }

    /// A map of these texts.
    pub fn map<K: Into<Atom>, V: Into<Atom>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }

    /// The row that this transaction inserts under `name`.
    pub fn named(name: impl Into<String>) -> Self {
        Self::Atom(Atom::NamedUuid(name.into()))
    }

    /// The elements of a set; one for a single value, none for a map.
    pub fn atoms(&self) -> &[Atom] {
        match self {
            Self::Atom(atom) => std::slice::from_ref(atom),
            Self::Set(atoms) => atoms,
            Self::Map(_) => &[],
        }
    }

    /// The only element, if there is exactly one.
    pub fn single(&self) -> Option<&Atom> {
        match self.atoms() {
            [atom] => Some(atom),
            _ => None,
        }
    }

    /// The only element as text.
    pub fn as_str(&self) -> Option<&str> {
        match self.single()? {
            Atom::String(text) => Some(text),
            _ => None,
        }
    }

    /// The only element as an integer.
    pub fn as_i64(&self) -> Option<i64> {
        match self.single()? {
            Atom::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The only element as a truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match self.single()? {
            Atom::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The only element as a row.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match self.single()? {
            Atom::Uuid(uuid) => Some(*uuid),
            _ => None,
        }
    }

    /// The rows of a set.
    pub fn uuids(&self) -> impl Iterator<Item = Uuid> {
        self.atoms().iter().filter_map(|atom| match atom {
            Atom::Uuid(uuid) => Some(*uuid),
            _ => None,
        })
    }

    /// The texts of a set.
    pub fn strings(&self) -> impl Iterator<Item = &str> {
        self.atoms().iter().filter_map(|atom| match atom {
            Atom::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The value of `key` in a map.
    pub fn key(&self, key: &str) -> Option<&Atom> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find_map(|(found, value)| match found {
            Atom::String(found) if found == key => Some(value),
            _ => None,
        })
    }

    /// The text of `key` in a map.
    pub fn text_of(&self, key: &str) -> Option<&str> {
        match self.key(key)? {
            Atom::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Atom(atom) => atom.to_json(),
            Self::Set(atoms) => json!(["set", atoms.iter().map(Atom::to_json).collect::<Vec<_>>()]),
            Self::Map(pairs) => {
                let pairs: Vec<Json> = pairs
                    .iter()
                    .map(|(key, value)| json!([key.to_json(), value.to_json()]))
                    .collect();
                json!(["map", pairs])
            }
        }
    }

    /// Reads a value; the error names what it found instead.
    pub(crate) fn from_json(json: Json) -> Result<Self, String> {
        let Json::Array(parts) = json else { return Atom::from_json(json).map(Self::Atom) };
        match <[Json; 2]>::try_from(parts) {
            Ok([Json::String(kind), Json::Array(elements)]) if kind == "set" => {
                let atoms: Result<_, _> = elements.into_iter().map(Atom::from_json).collect();
                atoms.map(Self::Set)
            }
            Ok([Json::String(kind), Json::Array(elements)]) if kind == "map" => {
                elements.into_iter().map(pair).collect::<Result<_, _>>().map(Self::Map)
            }
            Ok(pair) => Atom::from_json(Json::Array(pair.into())).map(Self::Atom),
            Err(parts) => Err(not("a value", &Json::Array(parts))),
        }
    }
}

fn pair(json: Json) -> Result<(Atom, Atom), String> {
    let Json::Array(parts) = json else { return Err(not("a pair", &json)) };
    match <[Json; 2]>::try_from(parts) {
        Ok([key, value]) => Ok((Atom::from_json(key)?, Atom::from_json(value)?)),
        Err(parts) => Err(not("a pair", &Json::Array(parts))),
    }
}

impl Atom {
    fn to_json(&self) -> Json {
        match self {
            Self::Integer(number) => json!(number),
            Self::Real(number) => json!(number),
            Self::Boolean(truth) => json!(truth),
            Self::String(text) => json!(text),
            Self::Uuid(uuid) => json!(["uuid", uuid.to_string()]),
            Self::NamedUuid(name) => json!(["named-uuid", name]),
        }
    }

    fn from_json(json: Json) -> Result<Self, String> {
        match json {
            Json::Bool(truth) => Ok(Self::Boolean(truth)),
            Json::String(text) => Ok(Self::String(text)),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Ok(Self::Integer(integer)),
                None => {
                    number.as_f64().map(Self::Real).ok_or_else(|| not("a number", &number.into()))
                }
            },
            Json::Array(ref parts) => match parts.as_slice() {
                [Json::String(kind), Json::String(text)] if kind == "uuid" => {
                    text.parse().map(Self::Uuid).map_err(|_| not("a uuid", &json))
                }
                [Json::String(kind), Json::String(text)] if kind == "named-uuid" => {
                    Ok(Self::NamedUuid(text.clone()))
                }
                _ => Err(not("an atom", &json)),
            },
            Json::Null | Json::Object(_) => Err(not("a value", &json)),
        }
    }
}

/// "`{json}` is not {what}", with no more of the server's text than fits a line.
pub(crate) fn not(what: &str, json: &Json) -> String {
    let text = json.to_string();
    let short: String = text.chars().take(80).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short}{more} is not {what}")
}

pub(crate) fn row_to_json(row: &Row) -> Json {
    row.iter().map(|(column, value)| (column.clone(), value.to_json())).collect()
}

pub(crate) fn row_from_json(json: Json) -> Result<Row, String> {
    let Json::Object(columns) = json else { return Err(not("a row", &json)) };
    columns.into_iter().map(|(name, value)| Ok((name, Value::from_json(value)?))).collect()
}

impl<T: Into<Atom>> From<T> for Value {
    fn from(atom: T) -> Self {
        Self::Atom(atom.into())
    }
}

macro_rules! atom_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Atom {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

atom_from!(i64 => Integer, i32 => Integer, u16 => Integer, f64 => Real, bool => Boolean,
    &str => String, &String => String, String => String, Uuid => Uuid);

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

    fn read(json: Json) -> Value {
        Value::from_json(json).unwrap()
    }

    #[test]
    fn reads_a_set_of_one_in_both_spellings() {
        for json in [json!(7), json!(["set", [7]])] {
            let value = read(json);
            assert_eq!(value.atoms(), [Atom::Integer(7)]);
            assert_eq!(value.as_i64(), Some(7));
        }
        assert_eq!(read(json!(["set", []])).single(), None);
        assert_eq!(read(json!(["set", [1, 2]])).as_i64(), None);
        assert_eq!(read(json!(["uuid", UUID])).as_uuid(), Some(UUID.parse().unwrap()));
        assert_eq!(read(json!(["set", [["uuid", UUID]]])).uuids().count(), 1);
    }

    #[test]
    fn reads_what_it_writes() {
        for json in [
            json!(-1),
            json!(1.5),
            json!(true),
            json!("text"),
            json!(["uuid", UUID]),
            json!(["named-uuid", "port"]),
            json!(["set", ["a", "b"]]),
            json!(["set", []]),
            json!(["map", [["a", "b"], ["c", 1]]]),
        ] {
            assert_eq!(read(json.clone()).to_json(), json);
        }
    }

    fn atoms() -> impl Strategy<Value = Atom> {
        prop_oneof![
            any::<i64>().prop_map(Atom::Integer),
            // serde_json reads numbers of many digits exactly to the last but one.
            any::<i32>().prop_map(|eighths| Atom::Real(f64::from(eighths) / 8.0)),
            any::<bool>().prop_map(Atom::Boolean),
            any::<String>().prop_map(Atom::String),
            Just(Atom::Uuid(UUID.parse().unwrap())),
            any::<String>().prop_map(Atom::NamedUuid),
        ]
    }

    fn values() -> impl Strategy<Value = Value> {
        let pairs = vec((atoms(), atoms()), 0..5);
        prop_oneof![
            atoms().prop_map(Value::Atom),
            vec(atoms(), 0..5).prop_map(Value::Set),
            pairs.prop_map(Value::Map),
        ]
    }

    proptest! {
        #[test]
        fn any_value_comes_back_through_the_text(value in values()) {
            let text = value.to_json().to_string();
            let read = Value::from_json(serde_json::from_str(&text).unwrap()).unwrap();
            match value {
                // One element travels as itself.
                Value::Set(atoms) if atoms.len() == 1 => prop_assert_eq!(read.atoms(), atoms),
                value => prop_assert_eq!(read, value),
            }
        }
    }

    #[test]
    fn finds_a_key_of_a_map() {
        let map = Value::map([("a", "1"), ("b", "2")]);
        assert_eq!(map.text_of("b"), Some("2"));
        assert_eq!(map.text_of("c"), None);
        assert_eq!(Value::from("a").text_of("a"), None);
    }

    #[test]
    fn refuses_what_is_no_value() {
        for json in [
            json!(null),
            json!({}),
            json!([]),
            json!(["set"]),
            json!(["set", 1]),
            json!(["set", [["set", []]]]),
            json!(["map", [["a"]]]),
            json!(["map", ["a"]]),
            json!(["uuid", "x"]),
            json!([1, 2, 3]),
        ] {
            assert!(Value::from_json(json.clone()).is_err(), "{json}");
        }
        let long = Value::from_json(json!({"x": "é".repeat(1000)})).unwrap_err();
        assert!(long.chars().count() < 120, "{long}");
    }
}
