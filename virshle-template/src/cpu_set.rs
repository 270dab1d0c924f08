//! A set of the host's CPUs, by their numbers.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A set of the host's CPUs, as the kernel writes it: `0-3,8`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CpuSet(BTreeSet<u16>);

/// Why a text is no set of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no set of CPUs: expected numbers and ranges of them, such as \"0-3,8\"")]
pub struct InvalidCpuSet {
    /// The text.
    pub text: String,
}

impl CpuSet {
    /// The highest number: the most CPUs that Linux can be built for, less one.
    pub const MAX: u16 = 8191;

    /// The numbers, in order.
    pub fn numbers(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }
}

impl FromStr for CpuSet {
    type Err = InvalidCpuSet;

    fn from_str(text: &str) -> Result<Self, InvalidCpuSet> {
        let invalid = || InvalidCpuSet { text: text.to_owned() };
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|number| plain && *number <= Self::MAX)
        };
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.trim().split_once('-').unwrap_or((part.trim(), part.trim()));
            let (first, last) = number(first).zip(number(last)).ok_or_else(invalid)?;
            if first > last {
                return Err(invalid());
            }
            numbers.extend(first..=last);
        }
        Ok(Self(numbers))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for number in self.numbers() {
            match ranges.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        let ranges: Vec<String> = ranges
            .into_iter()
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            })
            .collect();
        formatter.pad(&ranges.join(","))
    }
}

impl Serialize for CpuSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_and_written_as_the_kernel_does() {
        for (text, written) in
            [("0", "0"), ("0-3,8", "0-3,8"), ("8, 1,0,2", "0-2,8"), ("3-3", "3"), ("8191", "8191")]
        {
            assert_eq!(text.parse::<CpuSet>().unwrap().to_string(), written);
        }
        for text in ["", ",", "a", "-1", "1-", "3-1", "8192", "0-70000", "+1", "0--1"] {
            assert!(text.parse::<CpuSet>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(numbers in proptest::collection::btree_set(0..=CpuSet::MAX, 1..50)) {
            let set = CpuSet(numbers);
            prop_assert_eq!(set.to_string().parse(), Ok(set));
        }
    }
}
