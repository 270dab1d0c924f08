//! The head of a definition: what listings and selections need of it.

use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use uuid::Uuid;

use crate::model::definition::Definition;
use crate::model::definition::error::DefinitionError;
use crate::model::name::VmName;

/// Lists the keys of the head once: the struct, its quick reader and its copy out of a whole
/// definition follow from the list. A new key of the definition that stands before its first table is
/// added here, or to those that are passed over.
macro_rules! head {
    (
        keys { $($(#[$attribute:meta])* $key:ident: $type:ty = $read:ident $(, or $default:expr)?;)* }
        passed over { $($other:ident = $read_other:ident;)* }
    ) => {
        /// The part of a definition that listings and selections need: all that stands before the
        /// first table in `vm.toml`, which is a small part of the text.
        #[derive(Clone, Debug, Deserialize)]
        pub(crate) struct Head {
            $($(#[$attribute])* pub(crate) $key: $type,)*
        }

        impl Head {
            /// Reads what this crate writes: a key to a line, and plain values. Whatever else a
            /// person may have written is `None`, and for a parser of TOML, which takes five times
            /// as long: a listing reads thousands.
            fn from_lines(text: &str) -> Option<Self> {
                $(let mut $key: Option<$type> = None;)*
                for line in text.lines() {
                    let (key, value) = line.split_once(" = ")?;
                    // Each key stands there once.
                    let is_new = match key {
                        $(stringify!($key) => $key.replace($read(value)?).is_none(),)*
                        $(stringify!($other) => $read_other(value).is_some(),)*
                        _ => false,
                    };
                    if !is_new {
                        return None;
                    }
                }
                Some(Self { $($key: $key$(.or(Some($default)))??,)* })
            }
        }

        impl From<&Definition> for Head {
            fn from(definition: &Definition) -> Self {
                Self { $($key: definition.$key.clone(),)* }
            }
        }
    };
}

head! {
    keys {
        format: u32 = number;
        id: u64 = number;
        uuid: Uuid = parsed;
        name: VmName = parsed;
        template: String = parsed;
        vcpus: u32 = number;
        memory_bytes: u64 = number;
        #[serde(default)]
        autostart: bool = flag, or false;
    }
    passed over {
        created = plain;
        max_vcpus = any_number;
        max_memory_bytes = any_number;
        hugepages = flag;
        order = any_number;
        delay_seconds = any_number;
        restart = plain;
        watchdog = flag;
        nested = flag;
        ssh_user = plain;
    }
}

impl Head {
    /// The head of `text`, the content of `path`.
    pub(crate) fn from_toml(text: &str, path: &Path) -> Result<Self, DefinitionError> {
        match Self::parse(text) {
            Some(head) => Ok(head),
            // The whole text has the better explanation.
            None => Definition::from_toml(text, path).map(|definition| Self::from(&definition)),
        }
    }

    /// Whether `text`, which is no definition any more, still has the id or name `word`.
    pub(crate) fn is_called(text: &str, word: &str) -> bool {
        let head = text.lines().take_while(|line| !line.starts_with('['));
        head.filter_map(|line| line.split_once('=')).any(|(key, value)| {
            matches!(key.trim(), "name" | "id") && value.trim().trim_matches(['"', '\'']) == word
        })
    }

    /// The head of the definition `text`, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text.find("\n[").unwrap_or(text.len());
        let head = match Self::from_lines(&text[..end]) {
            Some(head) => head,
            None => toml::from_str(&text[..end]).ok()?,
        };
        (head.format <= Definition::FORMAT).then_some(head)
    }
}

/// A number as this crate writes it: TOML has other ways.
fn number<T: TryFrom<u64>>(value: &str) -> Option<T> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit())
        && (value.len() == 1 || !value.starts_with('0'));
    let number: u64 = value.parse().ok().filter(|_| is_plain)?;
    number.try_into().ok()
}

fn any_number(value: &str) -> Option<u64> {
    number(value)
}

fn flag(value: &str) -> Option<bool> {
    value.parse().ok()
}

/// A text between quotes, with nothing in it that means something else.
fn plain(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = |c: char| c != '"' && c != '\\' && !c.is_control();
    text.chars().all(is_plain).then_some(text)
}

fn parsed<T: FromStr>(value: &str) -> Option<T> {
    plain(value)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::definition::tests::example;

    #[test]
    fn what_is_broken_still_has_its_name() {
        let text =
            "format = 1\nid = 7\nname = \"web\" # mine\nvcpus = = 1\n[[net]]\nname = \"main\"\n";
        assert!(Head::parse(text).is_none());
        let is_called = |word| Head::is_called(&text.replace(" # mine", ""), word);
        assert!(is_called("web") && is_called("7"));
        assert!(!is_called("main") && !is_called("we") && !is_called("1") && !is_called(""));
    }

    #[test]
    fn a_head_is_the_same_by_either_way_of_reading() {
        let mut definition = example();
        definition.autostart = true;
        definition.nested = true;
        definition.max_memory_bytes = Some(4 << 30);
        definition.hugepages = true;
        definition.order = Some(3);
        definition.delay_seconds = 90;
        definition.restart = virshle_template::RestartPolicy::Always;
        definition.watchdog = true;
        definition.ssh_user = Some("me".into());
        let text = definition.to_toml().unwrap();
        let head = &text[..text.find("\n[").unwrap()];
        let (quick, careful) = (Head::from_lines(head).unwrap(), toml::from_str::<Head>(head));
        assert_eq!(format!("{quick:?}"), format!("{:?}", careful.unwrap()));
        for odd in [
            head.replace("id = 1\n", "id = 0x1\n"),
            head.replace("id = 1\n", "id = +1\n"),
            head.replace("id = 1\n", "id = 01\n"),
            head.replace("id = 1\n", "id = 1 # one\n"),
            head.replace("id = 1\n", "id=1\n"),
            head.replace("id = 1\n", "id = 1\nid = 2\n"),
            head.replace("id = 1\n", "\nid = 1\n"),
            head.replace("id = 1\n", ""),
            head.replace("\"xs\"", "'xs'"),
            head.replace("\"xs\"", "\"x\\u0073\""),
            format!("{head}\nsomething = 1"),
        ] {
            assert!(Head::from_lines(&odd).is_none(), "{odd}");
        }
    }
}
