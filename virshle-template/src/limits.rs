//! `[template.vm.limits]`: how much of the host a machine may take.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

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

/// One of the limits, to change it by itself: nothing in it is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the field of that name of `Limits`")]
pub enum Limit {
    CpuWeight(Option<u16>),
    CpuLimit(Option<u32>),
    CpuAffinity(Option<CpuSet>),
    MemoryOverhead(Option<ByteSize>),
    IoWeight(Option<u16>),
    Pids(Option<u32>),
}

impl Limit {
    /// The keys, as in a template.
    pub const KEYS: [&str; 6] =
        ["cpu_weight", "cpu_limit", "cpu_affinity", "memory_overhead", "io_weight", "pids"];

    /// Reads the limit `key` as a template has it, without quotes; an empty `value` is no limit. Nothing if
    /// no limit has that key.
    ///
    /// # Errors
    ///
    /// With what was expected.
    pub fn parse(key: &str, value: &str) -> Option<Result<Self, String>> {
        let weights = 1..=u16::try_from(MOST_WEIGHT).unwrap_or(u16::MAX);
        let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Some(match key {
            "cpu_weight" => number(value, weights).map(Self::CpuWeight),
            "io_weight" => number(value, weights).map(Self::IoWeight),
            "pids" => number(value, narrow(LEAST_PIDS)..=narrow(MOST_PIDS)).map(Self::Pids),
            "cpu_limit" if value.is_empty() => Ok(Self::CpuLimit(None)),
            "cpu_limit" => match percent_in(value) {
                Some(percent) => Ok(Self::CpuLimit(Some(percent))),
                None => Err(PERCENT.to_owned()),
            },
            "cpu_affinity" => parsed(value).map(Self::CpuAffinity),
            "memory_overhead" => parsed(value).map(Self::MemoryOverhead),
            _ => return None,
        })
    }
}

fn number<T: FromStr + PartialOrd + Display>(
    value: &str,
    range: RangeInclusive<T>,
) -> Result<Option<T>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = value.parse().ok().filter(|number| range.contains(number));
    let wrong = || format!("expected a whole number from {} to {}", range.start(), range.end());
    number.map(Some).ok_or_else(wrong)
}

fn parsed<T: FromStr<Err: Display>>(value: &str) -> Result<Option<T>, String> {
    match value {
        "" => Ok(None),
        _ => value.parse().map(Some).map_err(|error: T::Err| error.to_string()),
    }
}

const PERCENT: &str = "expected percent of one CPU, such as \"150%\"";

/// The number of `150%`, if it is a limit.
fn percent_in(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim().parse::<u64>().ok()?;
    (1..=MOST_PERCENT).contains(&number).then(|| u32::try_from(number).ok())?
}

/// `"150%"`.
fn percent(section: &Section<'_>) -> Option<u32> {
    let text = section.string("cpu_limit")?;
    let percent = percent_in(text.value);
    if percent.is_none() {
        let message = format!("{:?} is no limit of CPU time", text.value);
        section.wrong(text.span, message, PERCENT);
    }
    percent
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
    fn a_limit_is_read_by_itself_as_in_a_template() {
        for (key, value, expected) in [
            ("cpu_weight", "200", Limit::CpuWeight(Some(200))),
            ("cpu_weight", "", Limit::CpuWeight(None)),
            ("cpu_limit", "150%", Limit::CpuLimit(Some(150))),
            ("cpu_limit", "", Limit::CpuLimit(None)),
            ("cpu_affinity", "0-1", Limit::CpuAffinity("0,1".parse().ok())),
            ("memory_overhead", "1G", Limit::MemoryOverhead(Some(ByteSize::from_bytes(1 << 30)))),
            ("io_weight", "10000", Limit::IoWeight(Some(10_000))),
            ("pids", "16", Limit::Pids(Some(16))),
        ] {
            assert_eq!(Limit::parse(key, value), Some(Ok(expected)));
            assert!(Limit::KEYS.contains(&key));
        }
        for (key, value) in [
            ("cpu_weight", "0"),
            ("cpu_weight", "10001"),
            ("io_weight", "many"),
            ("pids", "15"),
            ("cpu_limit", "150"),
            ("cpu_limit", "0%"),
            ("cpu_affinity", "3-1"),
            ("memory_overhead", "lots"),
        ] {
            assert!(matches!(Limit::parse(key, value), Some(Err(_))), "{key}={value}");
        }
        assert_eq!(Limit::parse("vcpu", "1"), None);
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
