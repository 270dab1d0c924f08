//! The name of a unit.

use std::fmt;

/// The name of a unit, as systemd takes it: `virshle-web.scope`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnitName(String);

/// Why a text can't be the name of a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot be the name of a unit: {reason}")]
pub struct InvalidUnitName {
    /// The name.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

impl UnitName {
    /// The longest name, in bytes: `UNIT_NAME_MAX` of systemd less its NUL.
    pub const MAX_LEN: usize = 255;

    /// The unit `stem` of type `kind`, such as `scope`. What can't be in a name is escaped, as
    /// `systemd-escape` does.
    ///
    /// # Errors
    ///
    /// If it is empty or too long.
    pub fn new(stem: &str, kind: &str) -> Result<Self, InvalidUnitName> {
        Self::checked(stem, format!("{}.{kind}", escape(stem.as_bytes(), true)))
    }

    /// The instance `instance` of the template `template` of type `kind`:
    /// `template@instance.kind`. The instance is escaped, and `%I` in the unit is it again.
    ///
    /// # Errors
    ///
    /// If it is empty or too long.
    pub fn instance(template: &str, instance: &str, kind: &str) -> Result<Self, InvalidUnitName> {
        Self::checked(instance, format!("{template}@{}.{kind}", escape(instance.as_bytes(), false)))
    }

    fn checked(stem: &str, name: String) -> Result<Self, InvalidUnitName> {
        if stem.is_empty() {
            return Err(InvalidUnitName { name, reason: "it is empty" });
        }
        if name.len() > Self::MAX_LEN {
            return Err(InvalidUnitName { name, reason: "it has more than 255 bytes" });
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// Escapes what has a meaning of its own. A `-` is kept in a stem that nothing unescapes.
///
/// # References
///
/// systemd.unit(5), "String Escaping for Inclusion in Unit Names".
fn escape(bytes: &[u8], keep_dash: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => text.push('-'),
            b'-' if keep_dash => text.push('-'),
            b'.' if index == 0 => text.push_str("\\x2e"),
            b':' | b'_' | b'.' => text.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_escaped_as_systemd_escapes_it() {
        let name = |stem| UnitName::new(stem, "scope").unwrap().to_string();
        assert_eq!(name("virshle-web.1_a"), "virshle-web.1_a.scope");
        assert_eq!(name("a b"), "a\\x20b.scope");
        assert_eq!(name(".a"), "\\x2ea.scope");
        let instance = |text| UnitName::instance("ended", text, "service").unwrap().to_string();
        // systemd-escape /srv/a-b
        assert_eq!(instance("/srv/a-b"), "ended@-srv-a\\x2db.service");
        assert_eq!(instance("é"), "ended@\\xc3\\xa9.service");
    }

    #[test]
    fn a_name_that_systemd_refuses_is_refused() {
        assert!(UnitName::new("", "scope").is_err());
        assert!(UnitName::new(&"x".repeat(249), "scope").is_ok());
        assert!(UnitName::new(&"x".repeat(250), "scope").is_err());
        assert!(UnitName::instance("a", &"é".repeat(40), "service").is_err());
    }
}
