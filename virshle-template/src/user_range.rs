//! A range of user ids, one for each machine.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::section::Section;
use crate::suggestion::quoted;

/// Consecutive user ids, which are as many group ids.
///
/// The first is the id of a group that all machines of a node share, the others are machines' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRange {
    /// The first id.
    pub first: u32,
    /// The last id.
    pub last: u32,
}

/// The first id that isn't a system user's (login.defs(5), Debian Policy 9.2.2).
const FIRST: u32 = 1000;
/// The last id that every program can write down: above it lie ids that are negative numbers to some.
const LAST: u32 = i32::MAX as u32;
/// The least number of ids: a group, and room for machines, whose ids are never given twice.
const LEAST: u32 = 256;
/// `nobody`, and what 16 bits take for no id at all.
const RESERVED: [u32; 2] = [65534, 65535];

impl Default for UserRange {
    /// 2100000000 to 2139999999: above all that Debian, systemd, shadow's subordinate ids, LXD, Podman
    /// and SSSD hand out.
    fn default() -> Self {
        Self { first: 2_100_000_000, last: 2_139_999_999 }
    }
}

impl UserRange {
    /// Returns whether `id` is in the range.
    pub fn contains(self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }

    /// How many machines can have a user of their own.
    pub fn machines(self) -> u32 {
        self.last - self.first
    }

    pub(crate) fn read(section: &Section<'_>) -> Option<Self> {
        let text = section.string("users")?;
        let wrong = |message: String, help: &str| {
            section.wrong(text.span.clone(), message, help);
            None
        };
        let parts = text.value.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?))
        });
        let Some((first, last)) = parts else {
            let message = format!("{} is no range of user ids", quoted(text.value));
            return wrong(message, "expected a text such as \"2100000000-2139999999\"");
        };
        if first < FIRST || last > LAST {
            let help = format!("expected ids from {FIRST} to {LAST}");
            return wrong(format!("the ids {first}-{last} are not all users'"), &help);
        }
        if let Some(id) = RESERVED.into_iter().find(|id| (first..=last).contains(id)) {
            return wrong(format!("the ids {first}-{last} include {id}, which is reserved"), "");
        }
        if last < first || last - first + 1 < LEAST {
            let message = format!("the ids {first}-{last} are too few");
            let help = format!("expected {LEAST} or more: a machine's id is never given again");
            return wrong(message, &help);
        }
        Some(Self { first, last })
    }
}

impl fmt::Display for UserRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

impl Serialize for UserRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    #[test]
    fn a_range_is_two_ids() {
        let found = read("users = '100000-199999'", UserRange::read);
        assert_eq!(found, Some(UserRange { first: 100_000, last: 199_999 }));
        assert_eq!(found.unwrap().to_string(), "100000-199999");
        assert_eq!(found.unwrap().machines(), 99_999);
        assert!(found.unwrap().contains(100_000) && !found.unwrap().contains(200_000));
    }

    #[test]
    fn what_is_no_range_of_machines_is_told() {
        for (text, message) in [
            ("x", "\"x\" is no range of user ids"),
            ("1-", "\"1-\" is no range of user ids"),
            ("1-99999999999", "\"1-99999999999\" is no range of user ids"),
            ("0-100000", "the ids 0-100000 are not all users'"),
            ("100000-4294967294", "the ids 100000-4294967294 are not all users'"),
            ("60000-70000", "the ids 60000-70000 include 65534, which is reserved"),
            ("200000-100000", "the ids 200000-100000 are too few"),
            ("100000-100254", "the ids 100000-100254 are too few"),
        ] {
            assert_eq!(mistakes(&format!("users = '{text}'"), UserRange::read), [message]);
        }
    }
}
