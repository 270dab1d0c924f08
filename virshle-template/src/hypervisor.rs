//! `[hypervisor]`: cloud-hypervisor and its firmware.

use std::path::PathBuf;

use serde::Serialize;

use crate::section::Section;

/// `[hypervisor]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HypervisorSettings {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// The firmware of machines whose template names none; the usual places if unset.
    pub firmware: Option<PathBuf>,
}

impl Default for HypervisorSettings {
    fn default() -> Self {
        Self { program: "cloud-hypervisor".into(), firmware: None }
    }
}

impl HypervisorSettings {
    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let mut settings = Self::default();
        let Some(section) = section else { return settings };
        // A name without a slash is looked up in PATH, as a shell does.
        let is_name =
            section.string("program").is_some_and(|program| !program.value.contains(['/', '~']));
        if is_name {
            if let Some(name) = section.string("program").filter(|name| !name.value.is_empty()) {
                settings.program = name.value.into();
            }
        } else if section.has("program")
            && let Some(path) = section.path("program")
        {
            settings.program = path;
        }
        settings.firmware = section.path("firmware");
        section.finish();
        settings
    }
}
