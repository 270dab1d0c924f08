//! `restart`: what happens when a machine has ended without being asked to.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::section::Section;

/// What happens when a machine has ended without being asked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartPolicy {
    /// It stays off.
    #[default]
    No,
    /// It is started again when it failed: a crash, a panic, want of memory.
    OnFailure,
    /// It is started again, also when its guest powered itself off.
    Always,
}

const NAMES: [(&str, RestartPolicy); 3] = [
    ("no", RestartPolicy::No),
    ("on-failure", RestartPolicy::OnFailure),
    ("always", RestartPolicy::Always),
];

impl RestartPolicy {
    /// The name in configurations, in JSON and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }

    pub(crate) fn read(template: &Section<'_>) -> Self {
        template.word("restart", &NAMES).unwrap_or_default()
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl Serialize for RestartPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A text that is no policy of restarts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no restart policy: expected no, on-failure or always")]
pub struct InvalidRestartPolicy {
    /// The text.
    pub text: String,
}

impl FromStr for RestartPolicy {
    type Err = InvalidRestartPolicy;

    fn from_str(text: &str) -> Result<Self, InvalidRestartPolicy> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, policy)| *policy)
            .ok_or_else(|| InvalidRestartPolicy { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    #[test]
    fn a_policy_is_one_of_three_names() {
        let policy = |text: &str| read(text, |section| Some(RestartPolicy::read(section)));
        assert_eq!(policy(""), Some(RestartPolicy::No));
        for (name, expected) in NAMES {
            assert_eq!(policy(&format!("restart = '{name}'")), Some(expected));
            assert_eq!(name.parse(), Ok(expected));
            assert_eq!(expected.to_string(), name);
        }
        let found = mistakes("restart = 'on-failur'", |section| Some(RestartPolicy::read(section)));
        assert_eq!(found, ["unknown restart \"on-failur\", did you mean \"on-failure\"?"]);
        assert!("".parse::<RestartPolicy>().is_err());
    }
}
