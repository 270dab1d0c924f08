//! How fast an interface may be: a number of bits per second, with its unit in the type.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use toml::de::DeValue;

use crate::section::Section;
use crate::suggestion::quoted;

/// How much an interface may send or receive in a second.
///
/// As text: a number and a unit. `Kbit/s Mbit/s Gbit/s` are bits, `KB/s MB/s GB/s` bytes, both decimal;
/// `KiB/s MiB/s GiB/s` are binary bytes. `/s` can be left away after bits, and `bps` stands for `bit/s`, as
/// with `tc`. A bare number has no unit and is refused, as is `Mb/s`, which some take for one and some
/// for the other.
///
/// ```
/// use virshle_template::BitRate;
///
/// assert_eq!("100Mbit/s".parse(), Ok(BitRate::from_bits(100_000_000)));
/// assert_eq!("12.5MB/s".parse::<BitRate>().unwrap().to_string(), "100 Mbit/s");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(u64);

/// Why a text is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRate {
    /// It does not begin with a number.
    #[error("{} is not a rate: it does not begin with a number", quoted(.text))]
    NoNumber {
        /// The text.
        text: String,
    },
    /// Its unit is unknown, or there is none.
    #[error("{} is not a unit of a rate", quoted(.unit))]
    Unit {
        /// The unit.
        unit: String,
    },
    /// It is out of range.
    #[error("{} is beyond what a rate can be", quoted(.text))]
    OutOfRange {
        /// The text.
        text: String,
    },
}

/// The forms that are accepted, for people.
pub(crate) const FORMS: &str = "a text such as \"100Mbit/s\": Kbit/s Mbit/s Gbit/s are bits, KB/s MB/s GB/s (or KiB/s …) bytes";

/// Less than one frame in a second, and more than there is.
const LEAST: u64 = 64_000;
const MOST: u64 = 1_000_000_000_000;

impl BitRate {
    /// So many bits per second.
    pub const fn from_bits(bits_per_second: u64) -> Self {
        Self(bits_per_second)
    }

    /// The bits per second.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The rate at `key`.
    pub(crate) fn read(section: &Section<'_>, key: &'static str) -> Option<Self> {
        let value = section.get(key)?;
        let DeValue::String(text) = value.get_ref() else {
            section.wrong_type(key, value, FORMS);
            return None;
        };
        let error = match text.parse() {
            Ok(rate) => return Some(rate),
            Err(error) => error,
        };
        let expected = match &error {
            InvalidRate::OutOfRange { .. } => "64Kbit/s to 1000Gbit/s",
            InvalidRate::NoNumber { .. } | InvalidRate::Unit { .. } => FORMS,
        };
        section.wrong(value.span(), error.to_string(), &format!("expected {expected}"));
        None
    }
}

/// How many bits per second one of the unit is.
fn scale(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    let (prefix, base, bits) = if let Some(rest) = lower.strip_suffix("/s") {
        match (rest.strip_suffix("bit"), rest.strip_suffix("ib"), rest.strip_suffix('b')) {
            (Some(prefix), ..) => (prefix, 1000_u64, 1),
            (_, Some(prefix), _) => (prefix, 1024, 8),
            // A small letter is a bit to some: only a large one is a byte.
            (.., Some(prefix)) if unit.contains('B') => (prefix, 1000, 8),
            _ => return None,
        }
    } else {
        (lower.strip_suffix("bit").or_else(|| lower.strip_suffix("bps"))?, 1000, 1)
    };
    let power = match prefix {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some(base.pow(power) * bits)
}

impl FromStr for BitRate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let trimmed = text.trim_ascii();
        let end = trimmed
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim_ascii();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let is_number = !whole.is_empty() && !fraction.contains('.') && !number.ends_with('.');
        if !is_number {
            return Err(InvalidRate::NoNumber { text: text.to_owned() });
        }
        let scale = scale(unit).ok_or_else(|| InvalidRate::Unit { unit: unit.to_owned() })?;
        let out_of_range = || InvalidRate::OutOfRange { text: text.to_owned() };
        // Six digits of a fraction are a bit of a megabit: what is finer is no one's to see.
        let fraction = fraction.get(..6).unwrap_or(fraction);
        let power = 10_u64.pow(u32::try_from(fraction.len()).unwrap_or_default());
        let part = match fraction {
            "" => 0,
            digits => digits.parse::<u64>().map_err(|_| out_of_range())?,
        };
        let whole: u64 = whole.parse().map_err(|_| out_of_range())?;
        let bits = whole
            .checked_mul(scale)
            .and_then(|bits| bits.checked_add(part.checked_mul(scale)? / power))
            .filter(|bits| (LEAST..=MOST).contains(bits));
        bits.map(Self).ok_or_else(out_of_range)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, one) in [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("Kbit/s", 1000)] {
            let (whole, rest) = (self.0 / one, self.0 % one);
            if whole > 0 && (rest * 1000) % one == 0 {
                let text = format!("{whole}.{:03}", rest * 1000 / one);
                let text = text.trim_end_matches('0').trim_end_matches('.');
                return formatter.pad(&format!("{text} {unit}"));
            }
        }
        formatter.pad(&format!("{} bit/s", self.0))
    }
}

impl Serialize for BitRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_by_their_units() {
        for (text, bits) in [
            ("100Mbit/s", 100_000_000),
            ("100 mbit", 100_000_000),
            ("1.5Gbps", 1_500_000_000),
            ("64Kbit/s", 64_000),
            ("100MB/s", 800_000_000),
            ("1MiB/s", 8_388_608),
            ("1 GiB/s", 8 << 30),
            ("1000Gbit/s", MOST),
            ("0.000064Tbit/s", 64_000_000),
        ] {
            assert_eq!(text.parse(), Ok(BitRate(bits)), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for (text, message) in [
            ("", "\"\" is not a rate: it does not begin with a number"),
            ("fast", "\"fast\" is not a rate: it does not begin with a number"),
            ("1.Mbit/s", "\"1.Mbit/s\" is not a rate: it does not begin with a number"),
            ("100", "\"\" is not a unit of a rate"),
            ("100M", "\"M\" is not a unit of a rate"),
            ("100Mb/s", "\"Mb/s\" is not a unit of a rate"),
            ("100MB", "\"MB\" is not a unit of a rate"),
            ("100Xbit/s", "\"Xbit/s\" is not a unit of a rate"),
            ("0Mbit/s", "\"0Mbit/s\" is beyond what a rate can be"),
            ("63Kbit/s", "\"63Kbit/s\" is beyond what a rate can be"),
            ("2Tbit/s", "\"2Tbit/s\" is beyond what a rate can be"),
            (
                "99999999999999999999Mbit/s",
                "\"99999999999999999999Mbit/s\" is beyond what a rate can be",
            ),
            ("99999999999999Tbit/s", "\"99999999999999Tbit/s\" is beyond what a rate can be"),
        ] {
            assert_eq!(text.parse::<BitRate>().unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_rate_is_shown_so_that_it_is_read_again(bits in LEAST..MOST) {
            let rate = BitRate(bits);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn no_text_ends_the_program(text in ".*") {
            drop(text.parse::<BitRate>());
        }
    }
}
