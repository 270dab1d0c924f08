//! A machine as `v` shows it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// What `v vm ls --json` says of a machine, as far as the harness looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Machine {
    pub(crate) id: u64,
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) template: String,
    pub(crate) state: String,
    pub(crate) pid: Option<u32>,
    pub(crate) dir: PathBuf,
    pub(crate) nets: Vec<Net>,
}

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Net {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) mac: String,
    pub(crate) port: String,
}

/// Machines by their uuid.
pub(crate) type Machines = BTreeMap<String, Machine>;

/// The machine of that name.
pub(crate) fn named<'a>(machines: &'a Machines, name: &str) -> Option<&'a Machine> {
    machines.values().find(|machine| machine.name == name)
}
