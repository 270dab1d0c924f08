//! Reading one table alone, for the unit tests of the other rooms.

use std::any::type_name;
use std::path::Path;

use toml::de::DeTable;

use crate::schema_check::{Schema, assert_agree, json};
use crate::section::Section;
use crate::source::Source;

/// Holds the schema for editors against what was read: the part of it that `T` is read from.
fn assert_schema_agrees<T>(text: &str, mistakes: &[String]) {
    const PARTS: [(&str, &str); 9] = [
        ("NodeSettings", "node"),
        ("NetworkSettings", "network"),
        ("HypervisorSettings", "hypervisor"),
        ("Vcpus", "vm"),
        ("Limits", "vm"),
        ("RestartPolicy", "vm"),
        ("Memory", "vm"),
        ("Boot", "vm"),
        ("Vec<virshle_template", "vm"),
    ];
    let name = type_name::<T>();
    let part = PARTS.iter().find(|(part, _)| name.contains(part));
    let (Some((_, part)), Some(value)) = (part, json(text)) else { return };
    let schema = Schema::config();
    let keys = &schema.root["definitions"][part]["properties"];
    let of_keys = value.as_object().into_iter().flatten();
    let faults = of_keys.flat_map(|(key, value)| {
        // Some of the tests have the header of the part in their texts, too.
        let known = keys.get(key).or_else(|| schema.root["properties"].get(key));
        known.map_or_else(
            || vec![format!("{key} is unknown")],
            |known| schema.faults(known, value, key),
        )
    });
    // A part of a table lacks the keys that the other parts have.
    let missing = |mistake: &&String| !mistake.starts_with("[test] has no");
    let mistakes: Vec<String> = mistakes.iter().filter(missing).cloned().collect();
    assert_agree(text, &faults.collect::<Vec<_>>(), &mistakes);
}

/// What `read` made of `text`, and the mistakes, one line each.
fn both<T>(text: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> (Option<T>, Vec<String>) {
    let table = DeTable::parse(text).unwrap();
    let path = Path::new("/etc/virshle/config.toml");
    let source = Source::new(path, text, Some("/home/a".into()));
    let section = Section::new(&source, "test", table.get_ref(), 0..0);
    let value = read(&section);
    section.finish();
    let mistakes = source.into_mistakes(&[]).into_iter().map(|mistake| mistake.message);
    let mistakes: Vec<String> = mistakes.collect();
    assert_schema_agrees::<T>(text, &mistakes);
    (value, mistakes)
}

/// What `read` makes of `text`, which has no mistakes.
pub(crate) fn read<T>(text: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
    let (value, mistakes) = both(text, read);
    assert_eq!(mistakes, Vec::<String>::new(), "{text}");
    value
}

/// The mistakes that `read` finds in `text`.
pub(crate) fn mistakes<T>(text: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Vec<String> {
    both(text, read).1
}
