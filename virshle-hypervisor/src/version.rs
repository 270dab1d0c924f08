//! cloud-hypervisor's version.

use std::fmt;

/// A version of cloud-hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Version {
    /// The release, every few weeks.
    pub major: u32,
    /// Corrections of it.
    pub minor: u32,
    /// Corrections of those.
    pub patch: u32,
}

impl Version {
    /// The oldest that this crate can use.
    pub const MINIMUM: Self = Self { major: 44, minor: 0, patch: 0 };

    /// Reads `v53.0`, `v53.0-dirty`, `53.0.0`, `cloud-hypervisor v44.0.0`.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?;
        let word = line.strip_prefix("cloud-hypervisor ").unwrap_or(line).trim();
        let word = word.strip_prefix('v').unwrap_or(word);
        let numbers = word.split(['-', '+', ' ']).next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let version = Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next().unwrap_or(Some(0))?,
        };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(f, "{major}.{minor}")?;
        if *patch == 0 { Ok(()) } else { write!(f, ".{patch}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_version_is_read() {
        let version = |major, minor, patch| Some(Version { major, minor, patch });
        let output = "cloud-hypervisor v53.0-dirty\nMigration Protocol Versions: 0\n";
        assert_eq!(Version::parse(output), version(53, 0, 0));
        assert_eq!(Version::parse("cloud-hypervisor v44.0.0"), version(44, 0, 0));
        assert_eq!(Version::parse("cloud-hypervisor v38.0.1-12-gabcdef"), version(38, 0, 1));
        assert_eq!(Version::parse("53.0.0"), version(53, 0, 0));
        for garbage in ["", "v", "cloud-hypervisor", "v53", "QEMU emulator version 7.2", "v1.2.3.4"]
        {
            assert_eq!(Version::parse(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn old_versions_sort_before_the_least() {
        assert!(Version::parse("v43.0").unwrap() < Version::MINIMUM);
        assert!(Version::parse("v44.0").unwrap() >= Version::MINIMUM);
        assert_eq!(Version::MINIMUM.to_string(), "44.0");
    }
}
