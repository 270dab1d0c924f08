//! The identity of a row.

use std::fmt;
use std::str::FromStr;

use crate::NetError;

/// The identity of a row, `_uuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(u128);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            n >> 96,
            (n >> 80) & 0xffff,
            (n >> 64) & 0xffff,
            (n >> 48) & 0xffff,
            n & 0xffff_ffff_ffff
        )
    }
}

impl FromStr for Uuid {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = || NetError::InvalidUuid { text: text.into() };
        if text.len() != 36 {
            return Err(wrong());
        }
        let mut number = 0_u128;
        for (place, letter) in text.chars().enumerate() {
            if matches!(place, 8 | 13 | 18 | 23) {
                if letter != '-' {
                    return Err(wrong());
                }
                continue;
            }
            number = number << 4 | u128::from(letter.to_digit(16).ok_or_else(wrong)?);
        }
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let text = "0a89f51c-101c-4be2-bd7a-85246213200a";
        assert_eq!(text.parse::<Uuid>().unwrap().to_string(), text);
        for text in [
            "",
            "0a89f51c-101c-4be2-bd7a-85246213200",
            "0a89f51c+101c-4be2-bd7a-85246213200a",
            "0a89f51c-101c-4be2-bd7a-85246213200g",
            "éééééééééééééééééé",
        ] {
            assert!(text.parse::<Uuid>().is_err(), "{text:?}");
        }
    }
}
