//! What a machine takes of the host, as the cgroup of its scope counts it.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::hardware::cgroup::{cgroup_directory, is_in_scope};

/// What a machine takes of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The cgroup of its scope.
    pub cgroup: PathBuf,
    /// The CPU time that it has taken, in microseconds.
    pub cpu_usec: Option<u64>,
    /// The memory that it takes, in bytes, with what the kernel keeps for it.
    pub memory: Option<u64>,
    /// The most that it has taken, in bytes; null before Linux 5.19.
    pub memory_peak: Option<u64>,
    /// The most that it may take, in bytes.
    pub memory_max: Option<u64>,
    /// What it has read of disks, in bytes; null where they are not counted.
    pub io_read: Option<u64>,
    /// What it has written to disks, in bytes.
    pub io_written: Option<u64>,
    /// Its threads.
    pub pids: Option<u64>,
}

/// What the process `pid` takes, if it is in the scope of a machine.
pub(crate) fn usage_of(pid: u32) -> Option<Usage> {
    if !is_in_scope(pid) {
        return None;
    }
    Some(usage_in(cgroup_directory(pid)?))
}

fn usage_in(cgroup: PathBuf) -> Usage {
    let text = |file: &str| fs::read_to_string(cgroup.join(file)).unwrap_or_default();
    let number = |file: &str| text(file).trim().parse().ok();
    let io = text("io.stat");
    let of_io = |key: &str| (!io.is_empty()).then(|| sum(&io, key));
    Usage {
        cpu_usec: text("cpu.stat")
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .and_then(|number| number.trim().parse().ok()),
        memory: number("memory.current"),
        memory_peak: number("memory.peak"),
        memory_max: number("memory.max"),
        io_read: of_io("rbytes="),
        io_written: of_io("wbytes="),
        pids: number("pids.current"),
        cgroup,
    }
}

/// The sum of a key's values over all devices.
fn sum(io: &str, key: &str) -> u64 {
    io.split_whitespace()
        .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_read_as_far_as_it_counts() {
        let directory = tempfile::tempdir().unwrap();
        let cgroup = directory.path().to_owned();
        let empty = Usage { cgroup: cgroup.clone(), ..Usage::default() };
        assert_eq!(usage_in(cgroup.clone()), empty);
        for (file, text) in [
            ("cpu.stat", "usage_usec 1200\nuser_usec 1000\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("io.stat", "8:0 rbytes=100 wbytes=7 rios=1\n8:16 rbytes=11 wbytes=2\n"),
            ("pids.current", "9\n"),
        ] {
            fs::write(directory.path().join(file), text).unwrap();
        }
        let expected = Usage {
            cpu_usec: Some(1200),
            memory: Some(4096),
            io_read: Some(111),
            io_written: Some(9),
            pids: Some(9),
            ..empty
        };
        assert_eq!(usage_in(cgroup), expected);
        assert_eq!(usage_of(std::process::id()), None, "a test is in no machine's scope");
    }
}
