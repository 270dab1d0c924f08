//! Runs one operation on many machines in parallel, and reports each as it is done.

use serde::Serialize;
use virshle_core::{Change, CoreError, Selection, Vm, in_parallel};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::report::ErrorDocument;

/// How the outcome of an operation is worded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wording {
    /// What was done: `started`.
    pub(crate) done: &'static str,
    /// The machine's state if there was nothing to do: `running`.
    pub(crate) already: &'static str,
}

/// A machine after the operation, and its error, as JSON.
#[derive(Serialize)]
pub(crate) struct Acted<T> {
    #[serde(flatten)]
    pub(crate) vm: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorDocument>,
}

/// Runs `work` on every machine of the selection, and continues past failures.
///
/// With `--json`, `show` is the machine afterwards.
///
/// # Errors
///
/// The machine's own error if one is selected, [`CliError::Several`] if some of several failed.
pub(crate) fn act<T: Serialize + Send>(
    context: &Context,
    selection: &Selection,
    wording: Wording,
    work: impl Fn(&Vm) -> Result<Change, CoreError> + Sync,
    show: impl Fn(&Vm) -> T + Sync,
) -> Result<(), CliError> {
    let vms = context.node()?.select(selection)?;
    act_on(context, &vms, wording, work, show)
}

/// Runs `work` on these machines, as [`act`] does.
///
/// # Errors
///
/// As [`act`].
pub(crate) fn act_on<T: Serialize + Send>(
    context: &Context,
    vms: &[Vm],
    wording: Wording,
    work: impl Fn(&Vm) -> Result<Change, CoreError> + Sync,
    show: impl Fn(&Vm) -> T + Sync,
) -> Result<(), CliError> {
    if vms.is_empty() {
        context.output.note("no machine matches");
    }
    let total = vms.len();
    let results = in_parallel(vms.iter().collect(), |vm| {
        let result = work(vm).map_err(CliError::from);
        report(context, vm, wording, &result, total);
        let shown = context
            .output
            .json
            .then(|| Acted { vm: show(vm), error: result.as_ref().err().map(ErrorDocument::new) });
        (result.err(), shown)
    });
    let (errors, shown): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    if context.output.json {
        context.output.json(&shown.into_iter().flatten().collect::<Vec<_>>())?;
    }
    outcome(errors.into_iter().flatten().collect(), total, wording.done)
}

/// The result of a command on `total` machines.
///
/// # Errors
///
/// The machine's own error if there is one machine, [`CliError::Several`] if some of several failed.
pub(crate) fn outcome(
    mut errors: Vec<CliError>,
    total: usize,
    done: &'static str,
) -> Result<(), CliError> {
    match (errors.len(), total) {
        (0, _) => Ok(()),
        (1, 1) => Err(errors.remove(0)),
        (failed, total) => Err(CliError::Several { failed, total, done }),
    }
}

/// Reports the outcome for one machine.
fn report(
    context: &Context,
    vm: &Vm,
    wording: Wording,
    result: &Result<Change, CliError>,
    total: usize,
) {
    let name = escape(vm.name().as_str());
    match result {
        // A single machine's error ends the command, and is reported there.
        Err(error) if total > 1 => context.report.draw_one_of_several(error),
        Err(_) => {}
        Ok(_) if context.output.json => {}
        Ok(Change::Unchanged) => {
            context.output.done(&format!("{name} is {} already", wording.already));
        }
        Ok(_) => context.output.done(&format!("{} {name}", wording.done)),
    }
}
