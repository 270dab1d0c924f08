//! Finds the known name that a misspelt one was likely meant to be.

/// The longest name that is compared, in bytes: comparing takes time and memory by its square.
const LONGEST: usize = 64;

/// The one of `known` that `word` is most likely a misspelling of, if any is near enough.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        // One slip in a short name, one in three letters of a longer one.
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `word` in quotes and with its odd characters escaped, for a message: at most so much of it as
/// helps to recognise it.
pub(crate) fn quoted(word: &str) -> String {
    match word.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("\"{}…\"", word[..end].escape_debug()),
        None => format!("\"{}\"", word.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("vcpus", ["vram", "vcpu"]), Some("vcpu"));
        assert_eq!(nearest("VRAM", ["vcpu", "vram"]), Some("vram"));
        assert_eq!(nearest("initramsf", ["initramfs"]), Some("initramfs"));
        assert_eq!(nearest("xl", ["xs", "web"]), Some("xs"));
        assert_eq!(nearest("colour", ["vram", "vcpu"]), None);
        assert_eq!(nearest(&"v".repeat(1 << 20), ["vram", "vcpu"]), None);
    }

    #[test]
    fn a_quoted_word_is_short_and_harmless() {
        assert_eq!(quoted("a\n\u{1b}[2J\"\u{202e}"), r#""a\n\u{1b}[2J\"\u{202e}""#);
        assert_eq!(quoted(&"é".repeat(64)), format!("\"{}\"", "é".repeat(64)));
        assert_eq!(quoted(&"é".repeat(65)), format!("\"{}…\"", "é".repeat(64)));
    }
}
