//! The deadline of a call.

use std::time::{Duration, Instant};

use rustix::event::Timespec;

const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The end of a wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    timeout: Duration,
    // `None`: so far away that the clock can't hold it.
    at: Option<Instant>,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { timeout, at: Instant::now().checked_add(timeout) }
    }

    /// The whole time that was given.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The time that is left; `None` when there is none.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = match self.at {
            Some(at) => at.saturating_duration_since(Instant::now()),
            None => Duration::MAX,
        };
        // The kernel takes no more in a socket's timeout.
        (left > Duration::ZERO).then_some(left.min(FAR))
    }

    /// The time that is left as `poll` takes it, zero when there is none; `None` waits for ever.
    pub(crate) fn left_to_poll(&self) -> Option<Timespec> {
        Timespec::try_from(self.left().unwrap_or_default()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_after_the_end() {
        assert_eq!(Deadline::after(Duration::ZERO).left(), None);
        assert!(Deadline::after(Duration::MAX).left().is_some());
    }
}
