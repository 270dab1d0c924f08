//! Brings to this host what no distribution has, and names the commands for the rest.

pub(crate) mod error;
pub(crate) mod os_release;
pub(crate) mod packages;
pub(crate) mod pin;

use std::path::{Path, PathBuf};

use serde::Serialize;
use virshle_hypervisor::{Version, own_firmware_name};
use virshle_image::{ImportProgress, ImportSource, Installed, PinnedFile};

use crate::host::check::finding::TIMEOUT;
use crate::host::setup::error::SetupError;
use crate::host::setup::packages::{Packages, missing_packages};
use crate::host::setup::pin::{Part, Pin, Pins, own_architecture};
use crate::host::step::InitMode;
use crate::machine::node::Node;
use crate::machine::parts::{PROGRAM, SYSTEM_PROGRAM, configured_program, own_firmware};
use crate::store::layout;

/// The modes of a program and of a firmware: each machine's user reads them, and nobody writes them but
/// their owner.
const PROGRAM_MODE: u32 = 0o755;
const FIRMWARE_MODE: u32 = 0o644;
/// Where the host has its firmware, beside what its distribution brings.
const SYSTEM_FIRMWARE: &str = "/usr/local/share/cloud-hypervisor";

/// Where a setup puts what it brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupPlace {
    /// The node's own directory: for this node alone, and without root for an ordinary user's.
    #[default]
    Node,
    /// `/usr/local`: for all users of the host.
    System,
}

/// A request to set this host up.
#[derive(Clone, Debug)]
#[must_use = "`Node::setup` executes it"]
pub struct SetupRequest {
    mode: InitMode,
    place: SetupPlace,
    offline: Option<PathBuf>,
    pins: Pins,
}

impl SetupRequest {
    /// Asks for what the host lacks, in the node's own directory, from where it is published.
    pub fn new(mode: InitMode) -> Self {
        Self { mode, place: SetupPlace::default(), offline: None, pins: Pins::default() }
    }

    /// Sets where it is put.
    pub fn place(mut self, place: SetupPlace) -> Self {
        self.place = place;
        self
    }

    /// Takes the files from this directory, by the names that they are published under, and asks no
    /// server.
    pub fn offline(mut self, directory: impl Into<PathBuf>) -> Self {
        self.offline = Some(directory.into());
        self
    }

    /// Sets the releases; those that this version was tried with unless set.
    pub fn pins(mut self, pins: Pins) -> Self {
        self.pins = pins;
        self
    }
}

/// One of the parts, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SetupStep {
    /// The part: `cloud-hypervisor` or `firmware`.
    pub part: &'static str,
    /// The release that is brought, or the version that is there; empty if it has none.
    pub version: String,
    /// Where it is.
    pub path: PathBuf,
    /// Where it comes from, if it is brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The checksum that it has to have, if it is brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its outcome.
    pub outcome: SetupOutcome,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SetupOutcome {
    /// It was brought.
    Installed,
    /// It was there.
    There,
    /// It would be brought.
    Would,
}

/// What a setup did, and what is left to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Setup {
    /// The parts.
    pub steps: Vec<SetupStep>,
    /// What the host's distribution has, and this host lacks.
    pub packages: Packages,
}

impl Node {
    /// Brings what no distribution has, as far as this host lacks it: cloud-hypervisor and its firmware,
    /// of pinned releases, each compared with its checksum and put in its place whole. May run any number
    /// of times; an interrupted download continues where it was.
    ///
    /// A part that the configuration names is never brought, nor is one that the host has already, of the
    /// pinned release or a later one.
    ///
    /// # Errors
    ///
    /// What was brought before a failure stays.
    pub fn setup(
        &self,
        request: &SetupRequest,
        on_progress: &mut dyn FnMut(Part, ImportProgress),
    ) -> Result<Setup, SetupError> {
        setup(self, request, on_progress)
    }
}

fn setup(
    node: &Node,
    request: &SetupRequest,
    on_progress: &mut dyn FnMut(Part, ImportProgress),
) -> Result<Setup, SetupError> {
    node.store().check_trust()?;
    node.store().check_name()?;
    let pins: Vec<&Pin> = request.pins.of_this_machine().collect();
    if pins.is_empty() {
        return Err(SetupError::NoRelease { architecture: own_architecture() });
    }
    let mut steps = Vec::new();
    for pin in pins {
        steps.push(match there(node, pin)? {
            Some(step) => step,
            None => bring(node, request, pin, on_progress)?,
        });
    }
    Ok(Setup { steps, packages: missing_packages(node) })
}

/// The part that is there already, and good enough.
fn there(node: &Node, pin: &Pin) -> Result<Option<SetupStep>, SetupError> {
    let step = |path: PathBuf, version: String| SetupStep {
        part: pin.part.name(),
        version,
        path,
        source: None,
        sha256: None,
        outcome: SetupOutcome::There,
    };
    match pin.part {
        Part::CloudHypervisor => {
            let path = node.hypervisor_program()?;
            let version = virshle_hypervisor::version(&path, TIMEOUT).ok();
            let text = version.map(|version| format!("v{version}")).unwrap_or_default();
            let is_configured = configured_program(node).is_some();
            let is_recent = version >= Version::parse(&pin.version) && version.is_some();
            Ok((is_configured || is_recent).then(|| step(path, text)))
        }
        Part::Firmware => {
            if let Some(configured) = &node.config().hypervisor.firmware {
                return Ok(Some(step(configured.clone(), String::new())));
            }
            if let Some(own) = own_firmware(node)? {
                // That of an earlier release is replaced.
                let is_it = PinnedFile::new(pin.source.clone(), pin.checksum.clone()).is_at(&own);
                return Ok(is_it.is_ok_and(|is_it| is_it).then(|| step(own, pin.version.clone())));
            }
            let found = node.firmware()?;
            // What boots only some images is no reason to leave away what boots them all.
            let name = std::ffi::OsStr::new(own_firmware_name());
            let whole = found.filter(|path| path.file_name() == Some(name));
            Ok(whole.map(|path| step(path, String::new())))
        }
    }
}

/// Brings a part, or reports that it would be brought.
fn bring(
    node: &Node,
    request: &SetupRequest,
    pin: &Pin,
    on_progress: &mut dyn FnMut(Part, ImportProgress),
) -> Result<SetupStep, SetupError> {
    let (path, mode) = place(node, request.place, pin.part);
    let source = match &request.offline {
        None => pin.source.clone(),
        Some(directory) => ImportSource::File(offline_file(pin, directory)?),
    };
    let mut step = SetupStep {
        part: pin.part.name(),
        version: pin.version.clone(),
        path: path.clone(),
        source: Some(source.to_string()),
        sha256: Some(pin.checksum.to_string()),
        outcome: SetupOutcome::Would,
    };
    if request.mode == InitMode::DryRun {
        return Ok(step);
    }
    if request.place == SetupPlace::Node {
        // With the modes of the node's directories, before those below them.
        node.store().ensure()?;
    }
    let file = PinnedFile::new(source, pin.checksum.clone()).mode(mode);
    let installed = file.install(&path, &mut |progress| on_progress(pin.part, progress));
    step.outcome = match installed {
        Ok(Installed::New) => SetupOutcome::Installed,
        Ok(Installed::Already) => SetupOutcome::There,
        Err(source) => {
            return Err(SetupError::Install {
                part: pin.part,
                version: pin.version.clone(),
                path,
                file: pin.source.to_string(),
                is_system: request.place == SetupPlace::System,
                source: Box::new(source),
            });
        }
    };
    Ok(step)
}

/// The file of a part in a directory of files that were fetched by other means.
fn offline_file(pin: &Pin, directory: &Path) -> Result<PathBuf, SetupError> {
    let path = directory.join(pin.file_name());
    if path.exists() {
        return Ok(path);
    }
    Err(SetupError::NotThere {
        part: pin.part,
        version: pin.version.clone(),
        file: pin.file_name().to_owned(),
        directory: directory.to_owned(),
        published: pin.source.to_string(),
    })
}

/// Where a part is put, and with what mode.
fn place(node: &Node, place: SetupPlace, part: Part) -> (PathBuf, u32) {
    let firmware = own_firmware_name();
    match (part, place) {
        (Part::CloudHypervisor, SetupPlace::Node) => {
            (layout::own_programs(node.root()).join(PROGRAM), PROGRAM_MODE)
        }
        (Part::CloudHypervisor, SetupPlace::System) => (SYSTEM_PROGRAM.into(), PROGRAM_MODE),
        (Part::Firmware, SetupPlace::Node) => {
            (layout::own_firmware(node.root()).join(firmware), FIRMWARE_MODE)
        }
        (Part::Firmware, SetupPlace::System) => {
            (Path::new(SYSTEM_FIRMWARE).join(firmware), FIRMWARE_MODE)
        }
    }
}
