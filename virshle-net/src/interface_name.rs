//! Names of network devices, short enough for the kernel.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::NetError;

/// A network interface's name, short enough for the kernel.
///
/// A longer name is refused and never cut: two machines would share one tap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The longest name, in bytes: `IFNAMSIZ` of `linux/if.h` less its NUL.
    pub const MAX_LEN: usize = 15;

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`NetError::InvalidInterfaceName`] where the kernel would refuse, cut or expand it.
    pub fn new(name: impl Into<String>) -> Result<Self, NetError> {
        let name = name.into();
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > Self::MAX_LEN {
            "it is longer than 15 bytes"
        } else if name == "." || name == ".." {
            "it is a directory"
        } else if name.bytes().any(|byte| matches!(byte, b'/' | b':' | b'%' | 0)) {
            "it has a slash, colon, percent sign or NUL"
        } else if name.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            "it has a blank or control character"
        } else {
            return Ok(Self(name));
        };
        Err(NetError::InvalidInterfaceName { name, reason })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for InterfaceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        Self::new(text)
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = NetError;

    fn try_from(text: String) -> Result<Self, NetError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_kernel_takes() {
        for name in ["lo", "vm1-main", "123456789012345", "a.b", "br@0", "é"] {
            assert_eq!(InterfaceName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_what_the_kernel_would_refuse_cut_or_expand() {
        for name in [
            "",
            "1234567890123456",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\nb",
            "tap%d",
            "a\0",
            "ééééééééé",
        ] {
            let hint = InterfaceName::new(name).unwrap_err().hint().unwrap();
            assert!(hint.contains(&InterfaceName::MAX_LEN.to_string()), "{name:?}: {hint}");
        }
    }
}
