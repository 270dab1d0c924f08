//! Escapes control characters in text for a terminal.

use std::borrow::Cow;

/// Escapes the characters that a terminal would act on: control characters, and those that change the
/// direction of the text.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_hostile(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Escapes text of several lines, and keeps the line breaks.
pub(crate) fn escape_lines(text: &str) -> String {
    let lines: Vec<Cow<'_, str>> = text.split('\n').map(escape).collect();
    lines.join("\n")
}

fn is_hostile(character: char) -> bool {
    // Unicode 9: the explicit directional formatting characters.
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_terminal_acts_on_is_escaped() {
        assert_eq!(escape("büro \"1\""), "büro \"1\"");
        assert_eq!(escape("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escape("a\nb\u{202e}c"), "a\\nb\\u{202e}c");
        assert_eq!(escape_lines("a\nb\x07"), "a\nb\\u{7}");
    }
}
