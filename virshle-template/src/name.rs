//! Names of templates, disks, interfaces and images: they become names of files and of devices.

use std::collections::HashMap;
use std::ops::Range;

use crate::section::{Placed, Section};
use crate::suggestion::quoted;

/// The longest name, in bytes.
const MAX_LEN: usize = 63;
/// What a name may be, for people.
const FORM: &str = "expected a letter or digit, then letters, digits, '-', '_' and '.'";

/// Why `name` can't be the name of a file that Virshle creates.
fn reason(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".into());
    }
    if name.len() > MAX_LEN {
        return Some(too_long(name));
    }
    let odd = name.chars().find(|character| {
        !(character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.'))
    });
    if let Some(odd) = odd {
        return Some(format!("it has {odd:?}"));
    }
    let first = name.chars().next().filter(|first| !first.is_ascii_alphanumeric());
    first.map(|first| format!("it begins with {first:?}"))
}

fn too_long(name: &str) -> String {
    format!("it has {} bytes, and {MAX_LEN} is the most", name.len())
}

/// Notes it if `name` can't be a name.
pub(crate) fn check(section: &Section<'_>, name: &Placed<&str>) {
    if let Some(reason) = reason(name.value) {
        let message = format!("{} cannot be a name: {reason}", quoted(name.value));
        section.wrong(name.span.clone(), message, FORM);
    }
}

/// Notes it if `reference` can't be what an image is called by: its name, or name and version, as
/// `debian:13`.
pub(crate) fn check_reference(section: &Section<'_>, reference: &Placed<&str>) {
    let (name, version) = match reference.value.split_once(':') {
        Some((name, version)) => (name, Some(version)),
        None => (reference.value, None),
    };
    let of_version = || match version {
        Some("") => Some("its version is empty".into()),
        Some(version) => reason(version),
        None => None,
    };
    // Together they are the name of a file.
    let is_long = || (reference.value.len() > MAX_LEN).then(|| too_long(reference.value));
    if let Some(reason) = reason(name).or_else(of_version).or_else(is_long) {
        let message = format!("{} cannot be a name: {reason}", quoted(reference.value));
        section.wrong(reference.span.clone(), message, FORM);
    }
}

/// The name in `section`, as it is written; an empty text if there is none. `example` shows how.
pub(crate) fn read(section: &Section<'_>, example: &'static str) -> Placed<String> {
    let name = section.require("name", example).and_then(|_| section.string("name"));
    let Some(name) = name else {
        return Placed { value: String::new(), span: section.span.clone() };
    };
    check(section, &name);
    Placed { value: name.value.to_owned(), span: name.span }
}

/// The names that were given so far, and where.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<String, Range<usize>>);

impl Names {
    /// Takes `name`, and notes it if another of these has it: `false` then.
    pub(crate) fn add(&mut self, section: &Section<'_>, what: &str, name: &Placed<String>) -> bool {
        if name.value.is_empty() {
            return true;
        }
        let Some(first) = self.0.get(&name.value) else {
            self.0.insert(name.value.clone(), name.span.clone());
            return true;
        };
        let line = section.source.line(first.start);
        let message = format!("a second {what} with the name {}", quoted(&name.value));
        section.wrong(name.span.clone(), message, &format!("line {line} has the first one"));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(64);
        for name in ["", ".", "..", "...", "a/b", "/", "-a", "a\nb", "a\0", "ü", "a b", "~", &long]
        {
            assert!(reason(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn names_that_files_have_are_taken() {
        let long = "a".repeat(63);
        for name in ["xs", "os", "debian-13.raw", "A_1", "7", "a..b", &long] {
            assert_eq!(reason(name), None, "{name:?}");
        }
    }
}
