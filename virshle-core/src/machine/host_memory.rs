//! The host's memory, in bytes.

/// The host's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostMemory {
    pub(crate) total_bytes: u64,
    /// What is free or can be freed.
    pub(crate) available_bytes: u64,
}

impl HostMemory {
    /// What the kernel says; nothing where it says nothing.
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            total_bytes: meminfo_bytes(&text, "MemTotal"),
            available_bytes: meminfo_bytes(&text, "MemAvailable"),
        }
    }
}

/// A line of `/proc/meminfo` (proc_meminfo(5)), which counts in KiB.
fn meminfo_bytes(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_counts_in_kib() {
        let text = "MemTotal:       24 kB\nMemAvailable:    8 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal"), 24 * 1024);
        assert_eq!(meminfo_bytes(text, "MemAvailable"), 8 * 1024);
        assert_eq!(meminfo_bytes(text, "Mem"), 0);
        assert_eq!(meminfo_bytes("", "MemTotal"), 0);
    }
}
