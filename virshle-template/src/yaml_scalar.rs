//! Scalars of YAML of which PyYAML makes a number or a date, or fails to.
//!
//! # References
//!
//! PyYAML, `resolver.py` for what a plain one is taken for, `constructor.py` for what is made of it.

use saphyr_parser::Tag;

use crate::suggestion::quoted;

/// What the tags of YAML's own begin with.
const CORE: &str = "tag:yaml.org,2002:";
/// The tags of scalars that PyYAML's safe loader knows.
pub(crate) const TAGS: [&str; 7] = ["null", "bool", "int", "float", "binary", "timestamp", "str"];

/// The name of `tag`, if it is one of YAML's own that are `known`. A tag that is none (`!`) leaves it to
/// the value.
///
/// # Errors
///
/// Any other one, as it is written.
pub(crate) fn known_tag<'t>(
    tag: Option<&'t Tag>,
    known: &[&str],
) -> Result<Option<&'t str>, String> {
    let Some(Tag { handle, suffix }) = tag else { return Ok(None) };
    let name = match handle.as_str() {
        CORE => Some(suffix.as_str()),
        "" => suffix.strip_prefix(CORE),
        _ => None,
    };
    match name {
        Some(name) if known.contains(&name) => Ok(Some(name)),
        _ if suffix.is_empty() || handle.is_empty() && suffix == "!" => Ok(None),
        _ if handle == CORE => Err(format!("!!{suffix}")),
        _ => Err(format!("{handle}{suffix}")),
    }
}

/// Why PyYAML would fail at the scalar `text` with this `tag`. Without one, a plain scalar is what it
/// looks like.
pub(crate) fn reason_against(
    text: &str,
    tag: Option<&str>,
    is_plain: bool,
    is_key: bool,
) -> Option<String> {
    let is_right = match tag {
        Some("bool") => {
            let text = text.to_ascii_lowercase();
            ["yes", "no", "true", "false", "on", "off"].contains(&text.as_str())
        }
        Some("int") => is_integer(text),
        Some("float") => is_float(text),
        Some("timestamp") => is_timestamp(text) == Some(true),
        Some("binary") => is_base64(text),
        Some(_) => true,
        None if is_plain => {
            let digits = text.trim_start_matches(['-', '+']);
            let is_empty_number = ["0x", "0b"].iter().any(|base| {
                digits
                    .strip_prefix(base)
                    .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte == b'_'))
            });
            let is_special = text == "=" || text == "<<" && !is_key;
            if is_special {
                return Some(format!("cloud-init makes nothing of {}", quoted(text)));
            }
            return match is_timestamp(text) {
                Some(false) => Some(format!("{} looks like a date and is no date", quoted(text))),
                _ => is_empty_number.then(|| format!("{} is no number", quoted(text))),
            };
        }
        None => true,
    };
    let tag = tag.unwrap_or_default();
    (!is_right).then(|| format!("{} is no {tag}", quoted(text)))
}

/// Whether `text` is an integer of Python, once its underscores are out.
fn is_integer(text: &str) -> bool {
    let digits = text.replace('_', "");
    let digits = digits.strip_prefix(['-', '+']).unwrap_or(&digits);
    let all = |digits: &str, radix| {
        !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))
    };
    match digits {
        "0" => true,
        _ if digits.starts_with("0b") => all(&digits[2..], 2),
        _ if digits.starts_with("0x") => all(&digits[2..], 16),
        _ if digits.starts_with('0') => all(digits, 8),
        _ => digits.split(':').all(|part| all(part, 10)),
    }
}

fn is_float(text: &str) -> bool {
    let number = text.replace('_', "").to_ascii_lowercase();
    let number = number.strip_prefix(['-', '+']).unwrap_or(&number);
    let is_number = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte))
            && part.parse::<f64>().is_ok()
    };
    number == ".inf" || number == ".nan" || number.split(':').all(is_number)
}

/// Whether Python decodes `text`: it passes over what is none of base64, and wants whole groups.
fn is_base64(text: &str) -> bool {
    let of = |fits: fn(u8) -> bool| text.bytes().filter(|byte| fits(*byte)).count();
    let digits = of(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
    let padding = of(|byte| byte == b'=');
    let needed = match digits % 4 {
        0 => 0,
        2 => 2,
        3 => 1,
        _ => return false,
    };
    text.is_ascii() && padding >= needed
}

/// Whether `text` is a date, or a date and a time, that there is; none if it doesn't look like one.
fn is_timestamp(text: &str) -> Option<bool> {
    let mut rest = text;
    let year = number(&mut rest, 4, 4)?;
    rest = rest.strip_prefix('-')?;
    let after_year = rest;
    let month = number(&mut rest, 1, 2)?;
    rest = rest.strip_prefix('-')?;
    let day = number(&mut rest, 1, 2)?;
    let date = year > 0 && (1..=12).contains(&month) && (1..=days(year, month)).contains(&day);
    if rest.is_empty() {
        // Of a date alone both have two digits.
        return (after_year.len() == 5).then_some(date);
    }
    rest = match rest.strip_prefix(['T', 't']) {
        Some(rest) => rest,
        None => rest.trim_start_matches([' ', '\t']),
    };
    let hour = number(&mut rest, 1, 2)?;
    rest = rest.strip_prefix(':')?;
    let minute = number(&mut rest, 2, 2)?;
    rest = rest.strip_prefix(':')?;
    let second = number(&mut rest, 2, 2)?;
    let mut is_right = date && hour < 24 && minute < 60 && second < 60;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
    }
    rest = rest.trim_start_matches([' ', '\t']);
    if rest.is_empty() || rest == "Z" {
        return Some(is_right);
    }
    rest = rest.strip_prefix(['-', '+'])?;
    is_right &= number(&mut rest, 1, 2)? < 24;
    if let Some(minutes) = rest.strip_prefix(':') {
        rest = minutes;
        number(&mut rest, 2, 2)?;
    }
    rest.is_empty().then_some(is_right)
}

/// Takes a number of so many digits.
fn number(rest: &mut &str, least: usize, most: usize) -> Option<u32> {
    let digits = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at_checked(digits).filter(|_| digits >= least)?;
    *rest = after;
    number.parse().ok()
}

fn days(year: u32, month: u32) -> u32 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_distinguished_from_what_only_looks_like_one() {
        for (text, expected) in [
            ("2024-02-29", Some(true)),
            ("2023-02-29", Some(false)),
            ("2024-13-01", Some(false)),
            ("0000-01-01", Some(false)),
            ("2024-1-1", None),
            ("2024-1-1 1:02:03", Some(true)),
            ("2024-01-01T24:00:00", Some(false)),
            ("2024-01-01t10:00:00.5 +02:00", Some(true)),
            ("2024-01-01 10:00:00 +99", Some(false)),
            ("2024-01-01 10:00", None),
            ("2024", None),
            ("10.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(is_timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn a_tagged_scalar_is_what_its_tag_says() {
        for (tag, right, wrong) in [
            ("int", "0x_1F", "0x"),
            ("int", "1:30", "1:x"),
            ("int", "017", "018"),
            ("float", "-.INF", "inf"),
            ("float", "1_0.5e+3", "abc"),
            ("bool", "On", "1"),
            ("binary", "aGVsbG8=\n", "aGVsbG8"),
            ("timestamp", "2024-01-01", "tomorrow"),
            ("str", "x", ""),
        ] {
            assert_eq!(reason_against(right, Some(tag), false, false), None, "{tag} {right}");
            let expected = tag != "str";
            let found = reason_against(wrong, Some(tag), false, false);
            assert_eq!(found.is_some(), expected, "{tag} {wrong}");
        }
    }
}
