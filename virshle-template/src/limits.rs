//! `[template.vm.limits]`: how much of the host a machine may take.

use serde::Serialize;

use crate::section::{Placed, Section};
use crate::{ByteSize, CpuSet};

/// `[template.vm.limits]`: how much of the host a machine may take. What is unset is not limited, but
/// for the memory: that is what the machine has and an overhead, always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// Its share of the CPUs when there are not enough for all, 1 to 10000; 100 for each machine.
    pub cpu_weight: Option<u16>,
    /// The most CPU time, in percent of one CPU: 150 is one and a half.
    pub cpu_limit: Option<u32>,
    /// The host's CPUs that it may run on.
    pub cpu_affinity: Option<CpuSet>,
    /// What the VMM may take beside the guest's memory; a measured amount if unset.
    pub memory_overhead: Option<ByteSize>,
    /// Its share of the disks' time when there is not enough for all, 1 to 10000; 100 for each.
    pub io_weight: Option<u16>,
    /// The most threads of the VMM.
    pub pids: Option<u32>,
}

/// The most that a weight is, in a cgroup (`cgroup-v2`, "Weights").
const MOST_WEIGHT: u64 = 10_000;
/// The most of a CPU that can be written: as many as Linux can be built for.
const MOST_PERCENT: u64 = 819_200;
/// With fewer threads, cloud-hypervisor does not start.
const LEAST_PIDS: u64 = 16;
/// `PID_MAX_LIMIT` of Linux.
const MOST_PIDS: u64 = 1 << 22;

impl Limits {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn read(template: &Section<'_>) -> Self {
        let Some(section) = template.section("limits", "template.vm.limits") else {
            return Self::default();
        };
        let weight = |key| {
            let weight = section.integer(key, 1, MOST_WEIGHT)?;
            u16::try_from(weight.value).ok()
        };
        let narrow = |number: Option<Placed<u64>>| u32::try_from(number?.value).ok();
        let limits = Self {
            cpu_weight: weight("cpu_weight"),
            cpu_limit: percent(&section),
            cpu_affinity: affinity(&section),
            memory_overhead: section.size("memory_overhead").map(|size| size.value),
            io_weight: weight("io_weight"),
            pids: narrow(section.integer("pids", LEAST_PIDS, MOST_PIDS)),
        };
        section.finish();
        limits
    }
}

/// `"150%"`, or a number of CPUs.
fn percent(section: &Section<'_>) -> Option<u32> {
    let text = section.string("cpu_limit")?;
    let number = text.value.strip_suffix('%').and_then(|number| number.trim().parse::<u64>().ok());
    match number.filter(|number| (1..=MOST_PERCENT).contains(number)) {
        Some(number) => u32::try_from(number).ok(),
        None => {
            let message = format!("{:?} is no limit of CPU time", text.value);
            section.wrong(text.span, message, "expected percent of one CPU, such as \"150%\"");
            None
        }
    }
}

fn affinity(section: &Section<'_>) -> Option<CpuSet> {
    let text = section.string("cpu_affinity")?;
    match text.value.parse() {
        Ok(set) => Some(set),
        Err(error) => {
            let error: crate::InvalidCpuSet = error;
            section.wrong(text.span, error.to_string(), "");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    fn limits(text: &str) -> Limits {
        read(text, |section| Some(Limits::read(section))).unwrap_or_default()
    }

    #[test]
    fn every_limit_is_read() {
        assert!(limits("").is_default());
        let text = "[limits]\ncpu_weight = 200\ncpu_limit = '150%'\ncpu_affinity = '0-1'\n\
                    memory_overhead = '512M'\nio_weight = 10\npids = 128\n";
        let expected = Limits {
            cpu_weight: Some(200),
            cpu_limit: Some(150),
            cpu_affinity: Some("0,1".parse().unwrap()),
            memory_overhead: Some(ByteSize::from_bytes(512 << 20)),
            io_weight: Some(10),
            pids: Some(128),
        };
        assert_eq!(limits(text), expected);
    }

    #[test]
    fn what_is_no_limit_is_reported() {
        for (text, message) in [
            ("cpu_weight = 0", "\"cpu_weight\" is out of range"),
            ("io_weight = 10001", "\"io_weight\" is out of range"),
            ("cpu_limit = '150'", "\"150\" is no limit of CPU time"),
            ("cpu_limit = '0%'", "\"0%\" is no limit of CPU time"),
            ("cpu_limit = 1.5", "\"cpu_limit\" is a fraction"),
            (
                "cpu_affinity = '3-1'",
                "\"3-1\" is no set of CPUs: expected numbers and ranges of them, such as \"0-3,8\"",
            ),
            ("pids = 1", "\"pids\" is out of range"),
            ("memory_overhead = 5", "\"memory_overhead\" is a whole number"),
            ("cpu_wait = 1", "unknown key \"cpu_wait\", did you mean \"cpu_weight\"?"),
        ] {
            let found =
                mistakes(&format!("[limits]\n{text}"), |section| Some(Limits::read(section)));
            assert_eq!(found, [message], "{text}");
        }
    }
}
