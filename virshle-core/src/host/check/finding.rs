//! One finding of a check, and how it is made of a failure.

use std::time::Duration;

use serde::Serialize;

use crate::failure::{Failure, Remedy, chain};

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// As it should be.
    Good,
    /// Machines run, but less well.
    Warning,
    /// Something won't work.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The thing.
    pub subject: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<Remedy>,
}

/// How long the switch may take for an answer, and a program to print its version.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

impl Finding {
    pub(super) fn good(subject: &str, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), level: Level::Good, message: message.into(), remedy: None }
    }

    pub(super) fn bad(
        level: Level,
        subject: &str,
        message: impl Into<String>,
        remedy: impl Into<Option<Remedy>>,
    ) -> Self {
        let (subject, message, remedy) = (subject.into(), message.into(), remedy.into());
        Self { subject, level, message, remedy }
    }

    /// A failure as a finding: the error with its causes, and its remedy.
    pub(super) fn failure(level: Level, subject: &str, error: &impl Failure) -> Self {
        Self::bad(level, subject, chain(error), error.remedy())
    }

    /// The failure of a leaf as a finding, with the hint that it has.
    pub(super) fn leaf(
        level: Level,
        subject: &str,
        error: &dyn std::error::Error,
        hint: Option<String>,
    ) -> Self {
        Self::bad(level, subject, chain(error), hint.map(Remedy::Text))
    }
}

/// A remedy that needs no wording by a front end.
pub(super) fn text(remedy: impl Into<String>) -> Remedy {
    Remedy::Text(remedy.into())
}
