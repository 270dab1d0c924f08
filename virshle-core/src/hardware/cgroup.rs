//! The cgroup of a machine's VMM: that of its scope, if it has one.

use std::path::{Path, PathBuf};

/// The cgroup of a process, from the root of the hierarchy (cgroups(7), `/proc/pid/cgroup`).
pub(crate) fn cgroup_of(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(ToOwned::to_owned)
}

/// The directory of the cgroup of a process.
pub(crate) fn cgroup_directory(pid: u32) -> Option<PathBuf> {
    Some(Path::new("/sys/fs/cgroup").join(cgroup_of(pid)?.trim_start_matches('/')))
}

/// What a process and all in its cgroup take of memory, in bytes.
pub(crate) fn memory_of(pid: u32) -> Option<u64> {
    let path = cgroup_directory(pid)?.join("memory.current");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The scope of a machine that a process is in.
pub(crate) fn scope_of(pid: u32) -> Option<String> {
    let path = cgroup_of(pid)?;
    let name = path.rsplit('/').next()?;
    (name.starts_with("virshle-") && name.ends_with(".scope")).then(|| name.to_owned())
}

/// Whether a process is in the scope of a machine.
pub(crate) fn is_in_scope(pid: u32) -> bool {
    scope_of(pid).is_some()
}
