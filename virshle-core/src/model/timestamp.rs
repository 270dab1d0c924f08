//! A moment, as RFC 3339 writes it: in UTC, to the second.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment, to the second. Shown, read and written as `2026-11-23T06:05:00Z` (RFC 3339, UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp {
    since_1970: Duration,
}

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time such as 2026-11-23T06:05:00Z")]
pub struct InvalidTimestamp {
    /// The text.
    pub text: String,
}

impl Timestamp {
    /// Now.
    pub fn now() -> Self {
        Self::of(SystemTime::now())
    }

    /// The moment so long after now.
    pub(crate) fn after(time: Duration) -> Self {
        Self::of(SystemTime::now().checked_add(time).unwrap_or(UNIX_EPOCH))
    }

    /// The moment, for arithmetic.
    pub fn time(self) -> SystemTime {
        UNIX_EPOCH + self.since_1970
    }

    /// A clock before 1970 is taken for one that was never set: its time is 1970's.
    fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { since_1970: Duration::from_secs(since.as_secs()) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&humantime::format_rfc3339_seconds(self.time()).to_string())
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        match humantime::parse_rfc3339(text) {
            Ok(time) => Ok(Self::of(time)),
            Err(_) => Err(InvalidTimestamp { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;

    fn try_from(text: String) -> Result<Self, InvalidTimestamp> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = "2026-11-23T06:05:00Z";
        let timestamp: Timestamp = text.parse().unwrap();
        assert_eq!(timestamp.to_string(), text);
        assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
        assert!(timestamp < Timestamp::now());
        for wrong in ["", "now", "2026-11-23", "2026-13-23T06:05:00Z", "9999999-01-01T00:00:00Z"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }
}
