//! `[hypervisor]`: cloud-hypervisor and its firmware.

use std::path::PathBuf;

use serde::Serialize;

use crate::section::Section;

/// `[hypervisor]`: cloud-hypervisor and its firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HypervisorSettings {
    /// The program: an absolute path, or a name that is looked up in `PATH`.
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
        let default = Self::default();
        let Some(section) = section else { return default };
        let program = section.program("program").unwrap_or(default.program);
        let settings = Self { program, firmware: section.path("firmware") };
        section.finish();
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    #[test]
    fn a_program_is_a_name_or_a_path() {
        let program = |section: &Section<'_>| section.program("program");
        for (text, path) in [
            ("cloud-hypervisor", "cloud-hypervisor"),
            ("./ch", "/etc/virshle/ch"),
            ("~/bin/ch", "/home/a/bin/ch"),
            ("/opt/ch", "/opt/ch"),
        ] {
            let found = read(&format!("program = '{text}'"), program);
            assert_eq!(found, Some(path.into()), "{text}");
        }
        assert_eq!(mistakes("program = ''", program), ["\"\" is no path: it is empty"]);
        assert_eq!(mistakes("program = 3", program), ["\"program\" is a whole number"]);
    }
}
