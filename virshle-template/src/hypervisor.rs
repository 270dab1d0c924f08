//! `[hypervisor]`: cloud-hypervisor and its firmware.

use std::path::PathBuf;

use serde::Serialize;

use crate::section::Section;
use crate::user_range::UserRange;

/// `[hypervisor]`: cloud-hypervisor and its firmware.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HypervisorSettings {
    /// The program: an absolute path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// The firmware of machines whose template names none; the usual places if unset.
    pub firmware: Option<PathBuf>,
    /// The ids of the users as whom machines run, each as its own, where the node is root's.
    pub users: UserRange,
    /// What a start does where the host can't confine a machine's process as it should be.
    pub confine: Confine,
}

/// What a start does where the host can't confine a machine's process as it should be.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new word, so adding one is a
/// breaking change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confine {
    /// It fails.
    #[default]
    Required,
    /// It confines the process as far as the host can, and warns.
    BestEffort,
}

impl Default for HypervisorSettings {
    fn default() -> Self {
        Self {
            program: "cloud-hypervisor".into(),
            firmware: None,
            users: UserRange::default(),
            confine: Confine::default(),
        }
    }
}

impl HypervisorSettings {
    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let default = Self::default();
        let Some(section) = section else { return default };
        let program = section.program("program").unwrap_or(default.program);
        let words = [("required", Confine::Required), ("best-effort", Confine::BestEffort)];
        let settings = Self {
            program,
            firmware: section.path("firmware"),
            users: UserRange::read(&section).unwrap_or(default.users),
            confine: section.word("confine", &words).unwrap_or_default(),
        };
        section.finish();
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    #[test]
    fn confinement_is_required_unless_said_otherwise() {
        let settings = |text: &str| {
            let text = format!("[hypervisor]\n{text}");
            crate::Config::from_toml(&text, std::path::Path::new("c.toml")).map(|c| c.hypervisor)
        };
        assert_eq!(settings("").unwrap(), HypervisorSettings::default());
        let found = settings("confine = 'best-effort'\nusers = '1000000-1999999'").unwrap();
        assert_eq!(found.confine, Confine::BestEffort);
        assert_eq!(found.users.first, 1_000_000);
        assert!(settings("confine = 'no'").is_err());
    }

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
