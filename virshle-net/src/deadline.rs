//! The deadline of a call.

use std::time::{Duration, Instant};

use rustix::event::Timespec;

/// A moment, and how far away it was when the wait began (for the error's sake).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Instant,
    pub(crate) timeout: Duration,
}

impl Deadline {
    /// The longest wait: `Instant` can't hold any `Duration`.
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

    pub(crate) fn after(timeout: Duration) -> Self {
        let timeout = timeout.min(Self::LONGEST);
        Self { at: Instant::now() + timeout, timeout }
    }

    /// What is left; `None` once it has passed.
    pub(crate) fn remaining(self) -> Option<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// What is left, as `poll` wants it.
    pub(crate) fn timespec(self) -> Option<Timespec> {
        self.remaining().and_then(|left| Timespec::try_from(left).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_nothing_has_passed() {
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), None);
    }

    #[test]
    fn an_endless_wait_does_not_overflow() {
        assert!(Deadline::after(Duration::MAX).remaining().is_some());
    }
}
