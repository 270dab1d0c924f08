//! The host's distribution, as it calls itself.
//!
//! # References
//!
//! os-release(5).

use std::path::Path;

use crate::fs::file::read_regular;

/// The places of the file, the first that can be read.
const PLACES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// The most of it that is read.
const MOST: u64 = 64 << 10;

/// What a distribution says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OsRelease {
    /// Its id, and the ids of those that it is like, nearest first.
    pub(crate) ids: Vec<String>,
    /// Its version, as `13` or `25.04`; empty if it has none.
    pub(crate) version: String,
    /// Its name for people.
    pub(crate) name: String,
}

impl OsRelease {
    /// That of this host.
    pub(crate) fn of_host() -> Self {
        let read = |place: &&str| read_regular(Path::new(place), MOST).ok();
        let bytes = PLACES.iter().find_map(read).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let lines = text.lines().rev().map(str::trim);
            let mut found = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.next().map(unquoted).unwrap_or_default()
        };
        let mut ids = vec![value("ID")];
        ids.extend(value("ID_LIKE").split_ascii_whitespace().map(ToOwned::to_owned));
        ids.retain(|id| !id.is_empty());
        let mut name = value("PRETTY_NAME");
        if name.is_empty() {
            name = ids.first().cloned().unwrap_or_else(|| "this Linux".into());
        }
        Self { ids, version: value("VERSION_ID"), name }
    }

    /// Whether it is one of that id, older than `version`.
    pub(crate) fn is_older(&self, id: &str, version: (u32, u32)) -> bool {
        let mut numbers = self.version.split('.').map(|part| part.parse::<u32>().ok());
        let Some(major) = numbers.next().flatten() else { return false };
        let minor = numbers.next().flatten().unwrap_or(0);
        self.ids.first().is_some_and(|own| own == id) && (major, minor) < version
    }
}

/// A value without the quotes that a shell would take away.
fn unquoted(value: &str) -> String {
    let quoted =
        ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    quoted.unwrap_or(value).replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_known_by_itself_and_by_what_it_is_like() {
        let text = "PRETTY_NAME=\"Linux Mint 22\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID='22'\n";
        let mint = OsRelease::parse(text);
        assert_eq!(mint.ids, ["linuxmint", "ubuntu", "debian"]);
        assert_eq!((mint.name.as_str(), mint.version.as_str()), ("Linux Mint 22", "22"));
        assert!(!mint.is_older("ubuntu", (25, 4)));
        let debian = OsRelease::parse("ID=debian\nVERSION_ID=\"12\"");
        assert!(debian.is_older("debian", (13, 0)) && !debian.is_older("debian", (12, 0)));
        let ubuntu = OsRelease::parse("ID=ubuntu\nVERSION_ID=\"24.10\"");
        assert!(ubuntu.is_older("ubuntu", (25, 4)) && !ubuntu.is_older("ubuntu", (24, 4)));
        assert_eq!(OsRelease::parse("").name, "this Linux");
        assert!(!OsRelease::parse("ID=debian\nVERSION_ID=sid").is_older("debian", (13, 0)));
    }
}
