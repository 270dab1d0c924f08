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
        let program = program(&section).unwrap_or(default.program);
        let settings = Self { program, firmware: section.path("firmware") };
        section.finish();
        settings
    }
}

/// A name without a slash is looked up in `PATH`, as a shell does.
fn program(section: &Section<'_>) -> Option<PathBuf> {
    let text = section.string("program")?;
    let is_name = !text.value.is_empty() && !text.value.contains(['/', '\0']);
    if is_name && !text.value.starts_with('~') && text.value != "." && text.value != ".." {
        return Some(text.value.into());
    }
    section.path_in(text.value, text.span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    #[test]
    fn a_program_is_a_name_or_a_path() {
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
