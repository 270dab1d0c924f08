//! Whether the kernel killed a process for want of memory: by its own record of it.
//!
//! By the time that a machine's end is looked at, its cgroup is gone, and `memory.events` with it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::fs::uptime::uptime;

/// The longest record of the kernel's log, in bytes.
const RECORD: usize = 8 << 10;
/// More records than any kernel keeps.
const MOST_RECORDS: usize = 1 << 20;

/// What the kernel recorded of having killed the process `pid` for want of memory, which began when the
/// host had been up for `since`. Nothing if it did not, or this user may not read the kernel's log.
///
/// # References
///
/// `Documentation/ABI/testing/dev-kmsg`; `dump_oom_victim` in the kernel's `mm/oom_kill.c`.
pub(crate) fn record_of(pid: u32, since: Duration) -> Option<String> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut log = File::options().read(true).custom_flags(flags).open("/dev/kmsg").ok()?;
    let mut found = None;
    let mut buffer = [0; RECORD];
    // The log's clock stands still while the host is suspended.
    let suspended = uptime().saturating_sub(monotonic());
    let since = since.saturating_sub(suspended);
    for _ in 0..MOST_RECORDS {
        match log.read(&mut buffer) {
            Ok(length) => {
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                found = kill_in(&text, pid, since).or(found);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Records were overwritten while this read.
            Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {}
            Err(_) => break,
        }
    }
    found
}

fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, 0).saturating_add(Duration::from_nanos(time.tv_nsec.unsigned_abs()))
}

/// The text of one record, if it is of the death of `pid` after `since`.
fn kill_in(record: &str, pid: u32, since: Duration) -> Option<String> {
    let (prefix, message) = record.split_once(';')?;
    let time: u64 = prefix.split(',').nth(2)?.parse().ok()?;
    let text = message.lines().next()?.strip_prefix("oom-kill:")?;
    let of_it = text.split(',').any(|part| part.strip_prefix("pid=") == Some(&pid.to_string()));
    (of_it && Duration::from_micros(time) >= since).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "6,812,55000000,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),\
        cpuset=/,mems_allowed=0,oom_memcg=/machine.slice/virshle-web.scope,\
        task_memcg=/machine.slice/virshle-web.scope,task=cloud-hyperviso,pid=412,uid=0\n \
        SUBSYSTEM=x\n";

    #[test]
    fn the_kernels_record_shows_which_process_it_killed() {
        let since = Duration::from_secs(50);
        let found = kill_in(RECORD, 412, since).unwrap();
        assert!(found.contains("CONSTRAINT_MEMCG") && found.ends_with("uid=0"), "{found}");
        assert_eq!(kill_in(RECORD, 41, since), None);
        // A process that had the number before.
        assert_eq!(kill_in(RECORD, 412, Duration::from_secs(60)), None);
        for odd in ["", ";", "6,1,x,-;oom-kill:pid=412", "6,1,2,-;Out of memory: pid=412"] {
            assert_eq!(kill_in(odd, 412, Duration::ZERO), None, "{odd}");
        }
    }
}
