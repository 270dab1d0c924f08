//! Finds the known name that a misspelt one was likely meant to be.

/// The longest name that is compared, in bytes: comparing takes time and memory by its square.
const LONGEST: usize = 64;

/// The one of `known` that `name` is most likely a misspelling of, if any is near enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        // One slip in a short name, one in three letters of a longer one.
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `name` in quotes and with its odd characters escaped, for a message: at most so much of it as
/// helps to recognise it.
pub(crate) fn quoted(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("\"{}…\"", name[..end].escape_debug()),
        None => format!("\"{}\"", name.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_name_is_not() {
        assert_eq!(nearest("vcpus", ["vram", "vcpu"]), Some("vcpu"));
        assert_eq!(nearest("VRAM", ["vcpu", "vram"]), Some("vram"));
        assert_eq!(nearest("initramsf", ["initramfs"]), Some("initramfs"));
        assert_eq!(nearest("xl", ["xs", "web"]), Some("xs"));
        assert_eq!(nearest("colour", ["vram", "vcpu"]), None);
        assert_eq!(nearest(&"v".repeat(1 << 20), ["vram", "vcpu"]), None);
    }

    #[test]
    fn a_quoted_name_is_short_and_harmless() {
        assert_eq!(quoted("a\n\u{1b}[2J\"\u{202e}"), r#""a\n\u{1b}[2J\"\u{202e}""#);
        assert_eq!(quoted(&"é".repeat(64)), format!("\"{}\"", "é".repeat(64)));
        assert_eq!(quoted(&"é".repeat(65)), format!("\"{}…\"", "é".repeat(64)));
    }
}
