//! JSON that every reader of YAML takes.

use serde_json::Value;

/// `value` as JSON that is YAML, too: PyYAML, which cloud-init reads with, refuses a text with
/// characters that it takes for unprintable, and breaks lines where JSON has none.
///
/// # References
///
/// YAML 1.1, 5.1 "Character Set", 5.4 "Line Break Characters".
pub(super) fn yaml(value: &Value) -> String {
    let json = format!("{value:#}");
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            // They stand in strings alone.
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_pyyaml_refuses_is_escaped_and_stays_the_same() {
        let text = "a\u{7}b\u{7f}c\u{85}d\u{9b}e\u{2028}f\u{feff}g\u{ffff}h\tbüro 🦀";
        let value = json!({ "a": text });
        let written = yaml(&value);
        assert!(written.contains("büro 🦀") && written.contains("\\u0085"), "{written}");
        assert!(!written.contains(['\u{7f}', '\u{85}', '\u{2028}']), "{written:?}");
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), value);
    }
}
