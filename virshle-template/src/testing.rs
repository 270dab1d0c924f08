//! Reading one table alone, for the unit tests of the other rooms.

use std::path::Path;

use toml::de::DeTable;

use crate::section::Section;
use crate::source::Source;

/// What `read` made of `text`, and the mistakes, one line each.
fn both<T>(text: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> (Option<T>, Vec<String>) {
    let table = DeTable::parse(text).unwrap();
    let path = Path::new("/etc/virshle/config.toml");
    let source = Source::new(path, text, Some("/home/a".into()));
    let section = Section::new(&source, "test", table.get_ref(), 0..0);
    let value = read(&section);
    section.finish();
    let mistakes = source.into_mistakes(&[]).into_iter().map(|mistake| mistake.message).collect();
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
