//! A point in time until which something is waited for. It saturates: no timeout is too long.

use std::time::{Duration, Instant};

use rustix::event::Timespec;

/// The end of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// None if the clock does not reach so far: it never comes.
    at: Option<Instant>,
}

impl Deadline {
    /// The deadline that comes when `timeout` is over.
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { at: Instant::now().checked_add(timeout) }
    }

    /// The time that is left; zero once it is over.
    pub(crate) fn left(self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether the time is over.
    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of two.
    pub(crate) fn min(self, other: Self) -> Self {
        match (self.at, other.at) {
            (Some(one), Some(two)) => Self { at: Some(one.min(two)) },
            (one, two) => Self { at: one.or(two) },
        }
    }

    /// The time that is left, as poll(2) takes it.
    pub(crate) fn timespec(self) -> Option<Timespec> {
        timespec(self.left())
    }
}

/// A time as poll(2) takes it: none waits for ever, as does one that is too long to be written.
pub(crate) fn timespec(time: Duration) -> Option<Timespec> {
    Timespec::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: `v vm wait --timeout 9999999999999999999s` aborted with an overflow.
    #[test]
    fn no_timeout_is_too_long() {
        let never = Deadline::after(Duration::MAX);
        assert!(!never.is_over());
        assert!(never.left() > Duration::from_secs(1 << 40));
        let now = Deadline::after(Duration::ZERO);
        assert!(now.is_over());
        assert_eq!(never.min(now), now);
        assert_eq!(now.min(never), now);
        assert_eq!(never.min(never), never);
    }
}
