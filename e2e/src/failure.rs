//! What went wrong in a scenario or in the lab itself, as a text for a person.

use std::error::Error;
use std::fmt;

/// The reason why a scenario or a part of the lab failed.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    /// Whether something isn't here, and nothing is wrong with what is.
    missing: bool,
}

impl Failure {
    /// Makes a failure of a text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), missing: false }
    }

    /// Names something that can't be had here.
    pub(crate) fn missing(text: impl Into<String>) -> Self {
        Self { text: text.into(), missing: true }
    }

    /// Whether it is only that something isn't here.
    pub(crate) fn is_missing(&self) -> bool {
        self.missing
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Error for Failure {}

/// Says what was being done when something failed.
pub(crate) trait While<T> {
    /// Puts `doing` before the cause.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> While<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| {
            let below: &dyn Error = &error;
            let missing = below.downcast_ref::<Failure>().is_some_and(Failure::is_missing);
            Failure { text: format!("{}: {error}", doing()), missing }
        })
    }
}

/// Ends the scenario with a failure unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::failure::Failure::new(format!($($text)+)));
        }
    };
}
pub(crate) use ensure;
