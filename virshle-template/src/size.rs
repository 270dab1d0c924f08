//! An amount of memory or disk: a number with its unit in the type.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::suggestion::quoted;

/// An amount of memory or of disk space.
///
/// As text: a number and a unit, in letters of either case. `K M G T P` and `KiB MiB GiB TiB PiB`
/// are binary, as in qemu-img; `KB MB GB TB PB` are decimal; `B` and a bare number, too, are bytes.
/// Fractions are allowed where they come to whole bytes: `1.5G`. What can't be counted in 64 bits
/// is refused. (The template's `vram` differs: its bare numbers are GiB.)
///
/// `Display` is exact: in the largest unit that two decimals are enough for.
///
/// ```
/// use virshle_template::ByteSize;
///
/// assert_eq!("50G".parse(), Ok(ByteSize::from_bytes(50 << 30)));
/// assert_eq!("1.5GiB".parse::<ByteSize>().unwrap().to_string(), "1.5 GiB");
/// assert_eq!("1KB".parse(), Ok(ByteSize::from_bytes(1000)));
///
/// let disks = [ByteSize::from_bytes(3 << 30), ByteSize::from_bytes(1 << 29)];
/// assert_eq!(disks.iter().sum::<ByteSize>().to_string(), "3.5 GiB");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSize {
    /// It does not begin with a number.
    #[error("{} is not a size: it does not begin with a number", quoted(.text))]
    NoNumber {
        /// The text.
        text: String,
    },
    /// Its unit is unknown.
    #[error("{} is not a unit of size", quoted(.unit))]
    Unit {
        /// The unit.
        unit: String,
    },
    /// It does not come to whole bytes.
    #[error("{} does not come to whole bytes", quoted(.text))]
    Fraction {
        /// The text.
        text: String,
    },
    /// It is larger than can be counted.
    #[error("{} is more than can be counted", quoted(.text))]
    TooLarge {
        /// The text.
        text: String,
    },
}

/// The forms that are accepted, for people.
pub(crate) const FORMS: &str =
    "a text such as \"512MiB\": K M G T P (also KiB …) are binary, KB MB GB TB PB decimal";

const BINARY: [(&str, u32); 5] = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

impl ByteSize {
    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Both together; `None` if that can't be counted.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// What is left without `other`; `None` if that is larger.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// So many of it; `None` if that can't be counted.
    pub const fn checked_mul(self, count: u64) -> Option<Self> {
        match self.0.checked_mul(count) {
            Some(bytes) => Some(Self(bytes)),
            None => None,
        }
    }

    /// What is left without `other`; nothing if that is larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// Both together, or the most that can be counted: no template may end the program that reads it.
/// [`ByteSize::checked_add`] reports that.
impl Add for ByteSize {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for ByteSize {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// All together, or the most that can be counted.
impl Sum for ByteSize {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), Add::add)
    }
}

impl<'a> Sum<&'a Self> for ByteSize {
    fn sum<I: Iterator<Item = &'a Self>>(sizes: I) -> Self {
        sizes.copied().sum()
    }
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_uppercase();
    let (prefix, base) = match unit.as_str() {
        "" | "B" => return Some(1),
        other => match (other.strip_suffix("IB"), other.strip_suffix('B')) {
            (Some(prefix), _) => (prefix.to_owned(), 1024_u64),
            (None, Some(prefix)) => (prefix.to_owned(), 1000),
            (None, None) => (other.to_owned(), 1024),
        },
    };
    let power = match prefix.as_str() {
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        _ => return None,
    };
    Some(base.pow(power))
}

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let trimmed = text.trim_ascii();
        let end = trimmed
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
            return Err(InvalidSize::NoNumber { text: text.to_owned() });
        }
        let unit = unit.trim_ascii_start();
        let scale = unit_bytes(unit).ok_or_else(|| InvalidSize::Unit { unit: unit.to_owned() })?;
        let too_large = || InvalidSize::TooLarge { text: text.to_owned() };
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        let bytes = whole.checked_mul(scale).ok_or_else(too_large)?;
        let part = fraction_bytes(fraction.trim_end_matches('0'), scale)
            .ok_or_else(|| InvalidSize::Fraction { text: text.to_owned() })?;
        bytes.checked_add(part).map(Self).ok_or_else(too_large)
    }
}

/// `0.digits` of `scale`, if that is whole.
fn fraction_bytes(digits: &str, scale: u64) -> Option<u64> {
    if digits.is_empty() {
        return Some(0);
    }
    // No process writes more digits, and so many can be counted with.
    let power = u32::try_from(digits.len()).ok().filter(|length| *length <= 18)?;
    let numerator = u128::from(digits.parse::<u64>().ok()?) * u128::from(scale);
    let denominator = 10_u128.pow(power);
    if numerator % denominator != 0 {
        return None;
    }
    u64::try_from(numerator / denominator).ok()
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in BINARY {
            let one = 1_u64 << shift;
            if self.0 < one {
                continue;
            }
            // Two digits are enough where they are exact; what isn't is shown in a smaller unit.
            let hundredths = u128::from(self.0) * 100;
            if hundredths % u128::from(one) == 0 {
                let hundredths = hundredths / u128::from(one);
                let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
                let text = text.trim_end_matches('0').trim_end_matches('.');
                return formatter.pad(&format!("{text} {unit}"));
            }
        }
        formatter.pad(&format!("{} B", self.0))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_counted_with_and_never_overflow() {
        let (one, most) = (ByteSize::from_bytes(1), ByteSize::from_bytes(u64::MAX));
        let mut total = one;
        total += one;
        assert_eq!((total, one + one), (ByteSize::from_bytes(2), ByteSize::from_bytes(2)));
        assert_eq!([one, most, most].iter().sum::<ByteSize>(), most);
        assert_eq!([one; 3].into_iter().sum::<ByteSize>().bytes(), 3);
        assert_eq!((one.checked_add(most), one.checked_add(one)), (None, Some(total)));
        assert_eq!((one.checked_sub(total), total.checked_sub(one)), (None, Some(one)));
        assert_eq!((most.checked_mul(2), one.checked_mul(2)), (None, Some(total)));
        assert_eq!(one.saturating_sub(total), ByteSize::default());
    }

    proptest! {
        #[test]
        fn any_size_is_shown_so_that_it_is_read_again(bytes: u64) {
            for bytes in [bytes, bytes & !0x3ff, bytes & !0xf_ffff, bytes >> 20] {
                let size = ByteSize::from_bytes(bytes);
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }

        #[test]
        fn any_text_is_answered(text: String) {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }

    #[test]
    fn letters_are_binary_and_their_b_makes_them_decimal() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1K", 1 << 10),
            ("1k", 1 << 10),
            ("512MiB", 512 << 20),
            ("2G", 2 << 30),
            ("2 GiB", 2 << 30),
            ("1T", 1 << 40),
            ("1MB", 1_000_000),
            ("1.5G", 3 << 29),
            ("0.5K", 512),
            ("1.50KB", 1500),
            ("1PiB", 1 << 50),
            ("1pb", 1_000_000_000_000_000),
            ("7B", 7),
            (" 2G ", 2 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "G",
            "1X",
            "1.3K",
            "-1G",
            "1..2G",
            "1.",
            ".5G",
            "1 2G",
            "20000P",
            "1GiBs",
            "1e3",
            "0x10",
            "+1",
            "١G",
            "1\u{a0}G",
            "inf",
            "1G\0",
            "18446744073709551616",
            "16384P",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert!("99999999999999999999999".parse::<ByteSize>().is_err());
        assert!(format!("1.{}1G", "0".repeat(40)).parse::<ByteSize>().is_err());
    }

    #[test]
    fn what_is_shown_is_exact() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (2 << 30, "2 GiB"),
            (3 << 29, "1.5 GiB"),
            ((1 << 30) + 1, "1073741825 B"),
            (1000 << 20, "1000 MiB"),
            (u64::MAX, "18446744073709551615 B"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }
}
