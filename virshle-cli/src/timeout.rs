//! Parses the value of `--timeout`.

use std::time::Duration;

/// Parses `30s`, `2m`, `1m30s`; a number without a unit is seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected for example 30s, 2m or 1m30s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_unit_is_seconds() {
        assert_eq!(parse("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        for invalid in ["", "soon", "-1", "30x", "99999999999999999999s"] {
            assert!(parse(invalid).is_err(), "{invalid:?}");
        }
    }
}
