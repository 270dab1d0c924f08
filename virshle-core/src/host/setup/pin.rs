//! The releases that a setup brings: where each file is, and its checksum.

use std::str::FromStr;

use serde::Deserialize;
use virshle_image::{Checksum, ImportSource};

/// One of the parts that no distribution has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Part {
    /// The hypervisor.
    CloudHypervisor,
    /// The firmware that boots images by EFI.
    Firmware,
}

impl Part {
    /// Its name: `cloud-hypervisor`, `firmware`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Firmware => "firmware",
        }
    }
}

/// A file of a release, pinned by its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// What it is.
    pub part: Part,
    /// The release, as its project calls it.
    pub version: String,
    /// The machines that it is for, as `uname -m` has them.
    pub architecture: String,
    /// Where it is.
    pub source: ImportSource,
    /// Its checksum.
    pub checksum: Checksum,
}

impl Pin {
    /// The name of the file at its source, by which it is looked for in a directory.
    pub fn file_name(&self) -> &str {
        let text = match &self.source {
            ImportSource::Url(url) => url.as_str(),
            ImportSource::File(path) => path.to_str().unwrap_or_default(),
            _ => "",
        };
        text.rsplit('/').next().unwrap_or_default()
    }
}

/// The releases that a setup brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins(Vec<Pin>);

/// A text that is no list of releases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPins {
    /// It is not the TOML that is expected.
    #[error("{0}")]
    Toml(String),
    /// A file is named by what is neither a path nor an address.
    #[error("{text:?} is neither a path nor an address")]
    Source {
        /// The text.
        text: String,
    },
    /// A checksum is none.
    #[error("{text:?} is no checksum: it has 64 hexadecimal digits, or 128")]
    Checksum {
        /// The text.
        text: String,
    },
}

/// What the list is written as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    file: Vec<WrittenPin>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPin {
    part: Part,
    version: String,
    #[serde(default = "own_architecture")]
    architecture: String,
    url: String,
    sha256: String,
}

/// The machine that this program is built for, as `uname -m` has it.
pub(crate) fn own_architecture() -> String {
    std::env::consts::ARCH.to_owned()
}

/// Where GitHub has the files of a project's release.
const RELEASES: &str = "https://github.com/cloud-hypervisor";

/// The files, each with its part, release, machine, path below [`RELEASES`] and SHA-256. Version 52 of
/// cloud-hypervisor corrupts qcow2 disks with compressed clusters that were grown.
const BUILT_IN: [(Part, &str, &str, &str, &str); 4] = [
    (
        Part::CloudHypervisor,
        "v53.0",
        "x86_64",
        "cloud-hypervisor/releases/download/v53.0/cloud-hypervisor-static",
        "448af3d4e59b22c2987f7df94c213ad40fb53a10d437e42b5ee6c4fce7c29ecc",
    ),
    (
        Part::CloudHypervisor,
        "v53.0",
        "aarch64",
        "cloud-hypervisor/releases/download/v53.0/cloud-hypervisor-static-aarch64",
        "f192b510eea1c710cbc439d716bb0573c223fc463dbe3e6523788a2b7ef62850",
    ),
    (
        Part::Firmware,
        "ch-1e1b96f126",
        "x86_64",
        "edk2/releases/download/ch-1e1b96f126/CLOUDHV.fd",
        "9fb511fc0dd423d90a79615a90a8ace9b9e078b4a115ea2c459e0ac2f4e60218",
    ),
    (
        Part::Firmware,
        "ch-1e1b96f126",
        "aarch64",
        "edk2/releases/download/ch-1e1b96f126/CLOUDHV_EFI.fd",
        "460cefa75c72461745ac2f8e828ac8646475f93823101980dfc3f5967175c1ef",
    ),
];

impl Default for Pins {
    /// Those that this version was tried with.
    fn default() -> Self {
        let pins = BUILT_IN.into_iter().filter_map(|(part, version, architecture, path, sum)| {
            Some(Pin {
                part,
                version: version.into(),
                architecture: architecture.into(),
                source: ImportSource::Url(format!("{RELEASES}/{path}")),
                checksum: sum.parse().ok()?,
            })
        });
        Self(pins.collect())
    }
}

impl Pins {
    /// The files that are for the machine that this program is built for, in order.
    pub fn of_this_machine(&self) -> impl Iterator<Item = &Pin> {
        self.0.iter().filter(|pin| pin.architecture == std::env::consts::ARCH)
    }
}

impl FromStr for Pins {
    type Err = InvalidPins;

    /// Reads a list in TOML: tables `[[file]]` with `part`, `version`, `url`, `sha256`, and
    /// `architecture` if it is for another machine.
    fn from_str(text: &str) -> Result<Self, InvalidPins> {
        let written: Written =
            toml::from_str(text).map_err(|error| InvalidPins::Toml(error.message().to_owned()))?;
        let pin = |pin: WrittenPin| {
            let WrittenPin { part, version, architecture, url, sha256 } = pin;
            let checksum =
                sha256.parse().map_err(|_| InvalidPins::Checksum { text: sha256.clone() })?;
            let source = url.parse().map_err(|_| InvalidPins::Source { text: url.clone() })?;
            Ok(Pin { part, version, architecture, source, checksum })
        };
        written.file.into_iter().map(pin).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_pinned_for_both_machines() {
        let pins = Pins::default();
        assert_eq!(pins.0.len(), BUILT_IN.len(), "a checksum is none");
        for machine in ["x86_64", "aarch64"] {
            let of = pins.0.iter().filter(|pin| pin.architecture == machine);
            let parts: Vec<Part> = of.map(|pin| pin.part).collect();
            assert_eq!(parts, [Part::CloudHypervisor, Part::Firmware], "{machine}");
        }
        let firmware = pins.0.last().unwrap();
        assert_eq!(firmware.file_name(), "CLOUDHV_EFI.fd");
        assert_eq!(pins.of_this_machine().count(), 2);
    }

    #[test]
    fn a_list_is_read_and_what_is_none_is_reported() {
        let sum = "0".repeat(64);
        let text = |part: &str, sum: &str, more: &str| {
            format!(
                "[[file]]\npart = '{part}'\nversion = '1'\nurl = 'https://there/a'\nsha256 = '{sum}'\n{more}"
            )
        };
        let pins: Pins = text("firmware", &sum, "architecture = 'vax'").parse().unwrap();
        assert_eq!((pins.0.len(), pins.of_this_machine().count()), (1, 0));
        let pins: Pins = text("cloud-hypervisor", &sum, "").parse().unwrap();
        assert_eq!(pins.of_this_machine().next().unwrap().file_name(), "a");
        for (wrong, part) in [
            (text("firmware", "00", ""), "is no checksum"),
            (text("bios", &sum, ""), "unknown variant"),
            (text("firmware", &sum, "x = 1"), "unknown field"),
            (text("firmware", &sum, "").replace("https", "ftp"), "neither a path nor an address"),
            (String::new(), "missing field"),
            ("[".into(), ""),
        ] {
            let error = wrong.parse::<Pins>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
