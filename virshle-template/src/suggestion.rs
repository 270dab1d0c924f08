//! The word that was likely meant.

/// The one of `known` that `word` is most likely a slip for, if any is near enough.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        // One slip in a short word, one in three letters of a longer one.
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("vcpus", ["vram", "vcpu"]), Some("vcpu"));
        assert_eq!(nearest("initramsf", ["initramfs"]), Some("initramfs"));
        assert_eq!(nearest("xl", ["xs", "web"]), Some("xs"));
        assert_eq!(nearest("colour", ["vram", "vcpu"]), None);
    }
}
