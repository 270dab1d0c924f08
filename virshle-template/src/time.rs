//! A span of time that a person wrote: a number of seconds, or `"1m30s"`.

use std::time::Duration;

use toml::de::DeValue;

use crate::section::{Placed, Section};
use crate::suggestion::quoted;

/// The forms that are accepted, for people.
const FORMS: &str = "a number of seconds, or a text such as \"90s\" or \"1m30s\"";

impl Section<'_> {
    /// A span of time in whole seconds, of at most `most`.
    pub(crate) fn time(&self, key: &'static str, most: Duration) -> Option<Placed<Duration>> {
        let value = self.get(key)?;
        let seconds = match value.get_ref() {
            DeValue::Integer(integer) => {
                u64::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            DeValue::String(text) => match seconds(text) {
                Some(seconds) => Some(seconds),
                None => {
                    let message = format!("{} is not a time", quoted(text));
                    self.wrong(value.span(), message, &format!("expected {FORMS}"));
                    return None;
                }
            },
            _ => {
                self.wrong_type(key, value, FORMS);
                return None;
            }
        };
        match seconds.map(Duration::from_secs) {
            Some(time) if time <= most => Some(Placed { value: time, span: value.span() }),
            _ => {
                let expected = format!("expected at most {} s", most.as_secs());
                self.wrong(value.span(), format!("{key:?} is out of range"), &expected);
                None
            }
        }
    }
}

/// The seconds of `90`, `90s`, `1m30s`, `2h`.
fn seconds(text: &str) -> Option<u64> {
    let mut sum = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = rest.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let length = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = unit.split_at(length);
        let factor = match unit {
            "" | "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(factor)?)?;
        rest = after.trim_start();
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    fn time(section: &Section<'_>) -> Option<Duration> {
        section.time("delay", Duration::from_secs(3600)).map(|time| time.value)
    }

    #[test]
    fn a_time_is_a_number_of_seconds_or_has_units() {
        for (text, seconds) in
            [("90", 90), ("0", 0), ("'90'", 90), ("'90s'", 90), ("'1m30s'", 90), ("'1h'", 3600)]
        {
            let found = read(&format!("delay = {text}"), time);
            assert_eq!(found, Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_reported() {
        for (text, message) in [
            ("''", "\"\" is not a time"),
            ("'soon'", "\"soon\" is not a time"),
            ("'1d'", "\"1d\" is not a time"),
            ("'99999999999999999999h'", "\"99999999999999999999h\" is not a time"),
            ("3601", "\"delay\" is out of range"),
            ("-1", "\"delay\" is out of range"),
            ("1.5", "\"delay\" is a fraction"),
        ] {
            assert_eq!(mistakes(&format!("delay = {text}"), time), [message], "{text}");
        }
    }
}
