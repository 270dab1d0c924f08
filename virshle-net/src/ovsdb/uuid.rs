//! The identity of a row.

use std::fmt;
use std::str::FromStr;

use crate::NetError;

/// The identity of a row, `_uuid`.
///
/// # References
///
/// RFC 7047 §3.1 and §5.1: the hyphenated form of RFC 4122 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(uuid::Uuid);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), f)
    }
}

impl FromStr for Uuid {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        // Of the forms that the crate reads, no other has this length.
        let hyphenated = Some(text).filter(|text| text.len() == 36);
        hyphenated
            .and_then(|text| uuid::Uuid::try_parse(text).ok())
            .map(Self)
            .ok_or_else(|| NetError::InvalidUuid { text: text.into() })
    }
}

impl From<uuid::Uuid> for Uuid {
    fn from(uuid: uuid::Uuid) -> Self {
        Self(uuid)
    }
}

impl From<Uuid> for uuid::Uuid {
    fn from(uuid: Uuid) -> Self {
        uuid.0
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
            "0a89f51c101c4be2bd7a85246213200a",
            "{0a89f51c-101c-4be2-bd7a-85246213200a}",
            "urn:uuid:0a89f51c-101c-4be2-bd7a-85246213200a",
            "éééééééééééééééééé",
        ] {
            assert!(text.parse::<Uuid>().is_err(), "{text:?}");
        }
    }
}
