//! One act on many machines: in parallel, a line for each as it is done, past failures.

use serde::Serialize;
use virshle_core::{Change, CoreError, Selection, Vm, in_parallel};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::report::ErrorDocument;

/// The words for an act.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// What was done: `started`.
    pub(crate) done: &'static str,
    /// What the machine is if there was nothing to do: `running`.
    pub(crate) already: &'static str,
}

/// A machine after the act, as JSON: as everywhere, and what went wrong.
#[derive(Serialize)]
pub(crate) struct Acted<T> {
    #[serde(flatten)]
    pub(crate) vm: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorDocument>,
}

/// Does `work` on every machine of the selection. Programs get each of them as `show` has it
/// afterwards.
///
/// # Errors
///
/// The machine's own error if one is meant, [`CliError::Several`] if some of more failed.
pub(crate) fn act<T: Serialize + Send>(
    context: &Context,
    selection: &Selection,
    words: Words,
    work: impl Fn(&Vm) -> Result<Change, CoreError> + Sync,
    show: impl Fn(&Vm) -> T + Sync,
) -> Result<(), CliError> {
    let vms = context.node()?.select(selection)?;
    act_on(context, &vms, words, work, show)
}

/// Does what [`act`] does on these machines.
///
/// # Errors
///
/// As [`act`].
pub(crate) fn act_on<T: Serialize + Send>(
    context: &Context,
    vms: &[Vm],
    words: Words,
    work: impl Fn(&Vm) -> Result<Change, CoreError> + Sync,
    show: impl Fn(&Vm) -> T + Sync,
) -> Result<(), CliError> {
    if vms.is_empty() {
        context.output.note("no machine fits");
    }
    let total = vms.len();
    let results = in_parallel(vms.iter().collect(), |vm| {
        let result = work(vm).map_err(CliError::from);
        tell(context, vm, words, &result, total);
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
    outcome(errors.into_iter().flatten().collect(), total, words.done)
}

/// What a command on `total` machines ends with.
///
/// # Errors
///
/// The machine's own error if there is one machine, [`CliError::Several`] if some of more failed.
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

fn tell(context: &Context, vm: &Vm, words: Words, result: &Result<Change, CliError>, total: usize) {
    let name = escape(vm.name().as_str());
    match result {
        // The one machine's error ends the command, and is told then.
        Err(error) if total > 1 => context.report.draw_one_of_several(error),
        Err(_) => {}
        Ok(_) if context.output.json => {}
        Ok(Change::Unchanged) => {
            context.output.done(&format!("{name} is {} already", words.already));
        }
        Ok(_) => context.output.done(&format!("{} {name}", words.done)),
    }
}
