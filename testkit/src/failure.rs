//! What went wrong in a program that tries or measures `v`, as a text for a person.

use std::fmt;

/// The reason why something failed, or could not be tried or measured.
#[derive(Clone, Debug)]
pub struct Failure(String);

impl Failure {
    /// Makes a failure of a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Says what was being done when something failed.
pub trait While<T> {
    /// Puts `doing` before the cause.
    ///
    /// # Errors
    ///
    /// The cause, if there is one.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> While<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{}: {error}", doing())))
    }
}

/// Ends the work with a [`Failure`] unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::Failure::new(format!($($text)+)));
        }
    };
}
