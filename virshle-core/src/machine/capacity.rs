//! What this host can give to a machine, and what is asked of it beyond that.

use std::thread::available_parallelism;

use virshle_template::{ByteSize, VmTemplate};

use crate::model::definition::Definition;

/// What this host can give to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// The CPUs that this process may use.
    cpus: u32,
    /// The most vCPUs of a machine, if KVM answers.
    max_vcpus: Option<u32>,
    memory_bytes: u64,
    swap_bytes: u64,
}

/// A machine that is too large for this host, or larger than is likely meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Oversize {
    /// More memory than the host has.
    #[error("vram is {}, and this host has {}", size(*.asked_bytes), size(*.host_bytes))]
    Memory {
        /// The memory of the machine.
        asked_bytes: u64,
        /// The memory of the host.
        host_bytes: u64,
        /// Whether the host's swap makes up for it.
        fits_swap: bool,
    },
    /// More vCPUs than the host has CPUs.
    #[error("vcpu is {asked}, and this host has {host}")]
    Vcpus {
        /// The vCPUs of the machine.
        asked: u32,
        /// The CPUs of the host.
        host: u32,
    },
    /// More vCPUs than KVM gives to a machine.
    #[error("vcpu is {asked}, and KVM of this host gives at most {most} to a machine")]
    TooManyVcpus {
        /// The vCPUs of the machine, hotplugged ones included.
        asked: u32,
        /// The most that there can be.
        most: u32,
    },
}

impl Oversize {
    /// Whether the machine can't be started here; otherwise it runs, but slowly.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Memory { fits_swap, .. } => !fits_swap,
            Self::Vcpus { .. } => false,
            Self::TooManyVcpus { .. } => true,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Memory { .. } => {
                "choose a smaller vram; a bare number is GiB, vram = \"2048MiB\" is MiB".into()
            }
            Self::Vcpus { host, .. } => format!("choose a vcpu of at most {host}"),
            Self::TooManyVcpus { most, .. } => format!("choose a vcpu of at most {most}"),
        }
    }
}

/// Returns what is too large for this host in a machine of this template.
pub fn oversize(template: &VmTemplate) -> Vec<Oversize> {
    let (vcpus, memory) = (template.vcpus, template.memory);
    Capacity::of_host().exceeded(vcpus.boot, vcpus.max, memory.size.bytes())
}

/// Returns why the machine can't run on this host.
pub(crate) fn fatal_oversize(definition: &Definition) -> Option<Oversize> {
    let (boot, max) = (definition.vcpus, definition.max_vcpus);
    let exceeded = Capacity::of_host().exceeded(boot, max, definition.memory_bytes);
    exceeded.into_iter().find(Oversize::is_fatal)
}

impl Capacity {
    pub(crate) fn of_host() -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let cpus = available_parallelism().map_or(1, usize::from);
        Self {
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            max_vcpus: virshle_hypervisor::max_vcpus().ok(),
            memory_bytes: meminfo_bytes(&meminfo, "MemTotal"),
            swap_bytes: meminfo_bytes(&meminfo, "SwapTotal"),
        }
    }

    fn exceeded(&self, vcpus: u32, vcpus_max: u32, memory_bytes: u64) -> Vec<Oversize> {
        let mut exceeded = Vec::new();
        // A host whose memory is unknown refuses nothing.
        if self.memory_bytes > 0 && memory_bytes > self.memory_bytes {
            exceeded.push(Oversize::Memory {
                asked_bytes: memory_bytes,
                host_bytes: self.memory_bytes,
                fits_swap: memory_bytes <= self.memory_bytes.saturating_add(self.swap_bytes),
            });
        }
        match self.max_vcpus {
            Some(most) if vcpus_max > most => {
                exceeded.push(Oversize::TooManyVcpus { asked: vcpus_max, most });
            }
            _ if vcpus > self.cpus => {
                exceeded.push(Oversize::Vcpus { asked: vcpus, host: self.cpus });
            }
            _ => {}
        }
        exceeded
    }
}

/// The host's memory, in bytes; 0 if it is unknown.
pub(crate) fn host_memory_bytes() -> u64 {
    meminfo_bytes(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal")
}

/// A line of `/proc/meminfo` (proc_meminfo(5)), which counts in KiB.
pub(crate) fn meminfo_bytes(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib.saturating_mul(1024))
}

/// A size to a tenth of a unit: what a host has is no round number.
pub(crate) fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes < GIB || bytes % GIB == 0 {
        return ByteSize::from_bytes(bytes).to_string();
    }
    format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Capacity =
        Capacity { cpus: 2, max_vcpus: Some(240), memory_bytes: 24 << 30, swap_bytes: 8 << 30 };

    fn messages(vcpus: u32, max: u32, gib: u64) -> Vec<(String, bool)> {
        let exceeded = HOST.exceeded(vcpus, max, gib << 30);
        exceeded.iter().map(|one| (one.to_string(), one.is_fatal())).collect()
    }

    #[test]
    fn what_fits_is_no_matter() {
        assert_eq!(messages(2, 2, 24), []);
        // Hotplugged vCPUs are for later.
        assert_eq!(messages(1, 64, 1), []);
    }

    #[test]
    fn what_is_too_large_is_named_and_fatal_only_if_it_cannot_run() {
        let memory = |asked: &str| format!("vram is {asked}, and this host has 24 GiB");
        assert_eq!(messages(2, 2, 30), [(memory("30 GiB"), false)]);
        assert_eq!(messages(2, 2, 2000), [(memory("2000 GiB"), true)]);
        assert_eq!(messages(64, 64, 1), [("vcpu is 64, and this host has 2".into(), false)]);
        let most = "vcpu is 500, and KVM of this host gives at most 240 to a machine".to_owned();
        assert_eq!(messages(500, 500, 1), [(most.clone(), true)]);
        assert_eq!(messages(1, 500, 1), [(most, true)]);
        let blind = Capacity { max_vcpus: None, memory_bytes: 0, ..HOST };
        assert!(!blind.exceeded(500, 500, u64::MAX).iter().any(Oversize::is_fatal));
    }

    #[test]
    fn meminfo_counts_in_kib() {
        let text = "MemTotal:       24 kB\nMemAvailable:    8 kB\n";
        assert_eq!(meminfo_bytes(text, "MemTotal"), 24 * 1024);
        assert_eq!(meminfo_bytes(text, "MemAvailable"), 8 * 1024);
        assert_eq!(meminfo_bytes(text, "Mem"), 0);
        assert_eq!(meminfo_bytes("", "MemTotal"), 0);
    }

    #[test]
    fn a_host_has_a_tenth_of_a_gib() {
        assert_eq!(size(25_233_000_000), "23.5 GiB");
        assert_eq!(size(2 << 30), "2 GiB");
    }
}
