//! `[node]`: what the node calls itself, and where it keeps its machines.

use std::path::PathBuf;

use serde::Serialize;

use crate::section::Section;

/// `[node]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeSettings {
    /// What listings call the node; the host's name if unset.
    pub alias: Option<String>,
    /// The folder of the machines; [`NodeSettings::default_root`] if unset.
    pub root: Option<PathBuf>,
}

impl NodeSettings {
    /// `/var/lib/virshle`, or `$XDG_DATA_HOME/virshle` when the caller is not root.
    pub fn default_root() -> PathBuf {
        if crate::caller::is_root() {
            return PathBuf::from("/var/lib/virshle");
        }
        crate::caller::xdg_folder("XDG_DATA_HOME", ".local/share").join("virshle")
    }

    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let Some(section) = section else { return Self::default() };
        let settings = Self {
            alias: section.string("alias").map(|alias| alias.value.to_owned()),
            root: section.path("root"),
        };
        section.finish();
        settings
    }
}
