//! The time since the host's boot: it only grows, whatever becomes of the clock, and counts while the
//! host is suspended.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time since the host's boot.
pub(crate) fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, 0).saturating_add(Duration::from_nanos(time.tv_nsec.unsigned_abs()))
}
