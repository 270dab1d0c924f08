//! One thing that a node needs, and whether it is there.

use serde::Serialize;

/// Whether [`Node::init`](crate::Node::init) does it, or only reports what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitMode {
    /// Do it.
    Apply,
    /// Only report it.
    DryRun,
}

/// One thing that a node needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InitStep {
    /// The thing.
    pub what: String,
    /// Its outcome.
    pub outcome: InitOutcome,
    /// What it consists of: commands, rules, lines of a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<String>,
}

/// The outcome for one thing that a node needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InitOutcome {
    /// It was created.
    Made,
    /// It was there.
    There,
    /// It would be created.
    Would,
}

/// One step: what is missing is created, or would be.
pub(crate) fn step(mode: InitMode, what: String, missing: bool) -> InitStep {
    step_with(mode, what, missing, Vec::new())
}

/// The same, with what it consists of.
pub(crate) fn step_with(
    mode: InitMode,
    what: String,
    missing: bool,
    detail: Vec<String>,
) -> InitStep {
    let outcome = match (missing, mode) {
        (false, _) => InitOutcome::There,
        (true, InitMode::Apply) => InitOutcome::Made,
        (true, InitMode::DryRun) => InitOutcome::Would,
    };
    InitStep { what, outcome, detail }
}
