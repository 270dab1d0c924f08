//! Names of templates, disks and interfaces: they become names of files and of devices.

use crate::section::{Placed, Section};

/// The longest name, in bytes.
pub(crate) const MAX_LEN: usize = 63;

/// Why `name` can't be the name of a file that Virshle makes.
fn reason(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".into());
    }
    if name.len() > MAX_LEN {
        return Some(format!("it has {} bytes, and {MAX_LEN} is the most", name.len()));
    }
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Some("it does not begin with a letter or digit".into());
    }
    let odd = name.chars().find(|character| {
        !(character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.'))
    });
    odd.map(|character| format!("it has {character:?}"))
}

/// The name in `section`, checked; an empty text if there is none that will do.
pub(crate) fn read(section: &Section<'_>) -> Placed<String> {
    let Some(name) = section.string("name") else {
        if !section.has("name") {
            section.missing("name", "name = \"main\"");
        }
        return Placed { value: String::new(), span: section.span.clone() };
    };
    if let Some(reason) = reason(name.value) {
        section.wrong(
            name.span.clone(),
            format!("{:?} cannot be a name: {reason}", name.value.escape_debug().to_string()),
            "expected letters, digits, '-', '_' and '.'",
        );
    }
    Placed { value: name.value.to_owned(), span: name.span }
}

/// Notes every name that stands a second time.
pub(crate) fn unique(section: &Section<'_>, what: &str, names: &[Placed<String>]) {
    for (index, name) in names.iter().enumerate() {
        if !name.value.is_empty() && names[..index].iter().any(|other| other.value == name.value) {
            let message = format!("a second {what} named {:?}", name.value);
            section.wrong(name.span.clone(), message, "each needs a name of its own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(64);
        for name in ["", ".", "..", "a/b", "-a", "a\nb", "ü", "a b", "~", &long] {
            assert!(reason(name).is_some(), "{name:?}");
        }
        for name in ["xs", "os", "debian-13.raw", "A_1", "7"] {
            assert_eq!(reason(name), None, "{name:?}");
        }
    }
}
