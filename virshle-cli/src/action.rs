//! Runs one operation on many machines in parallel, and reports each as it is done.

use serde::Serialize;
use virshle_core::{Change, Selection, StartError, StartOptions, Vm, in_parallel, start_many};

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
pub(crate) fn act<T: Serialize + Send, E: Into<CliError>>(
    context: &Context,
    selection: &Selection,
    wording: Wording,
    work: impl Fn(&Vm) -> Result<Change, E> + Sync,
    show: impl Fn(&Vm) -> T + Sync,
) -> Result<(), CliError> {
    let vms = context.node()?.select(selection)?;
    let action = Action { context, wording, total: vms.len(), show };
    let acted = in_parallel(vms.iter().collect(), |vm| action.done(vm, work(vm)));
    action.end(acted)
}

/// Starts these machines, and reports each as [`act`] does.
///
/// # Errors
///
/// As [`act`].
pub(crate) fn start(context: &Context, vms: &[Vm], options: &StartOptions) -> Result<(), CliError> {
    let wording = Wording { done: "started", already: "running" };
    let action = Action { context, wording, total: vms.len(), show: Vm::info };
    let done = |vm: &Vm, result: Result<Change, StartError>| action.done(vm, result);
    action.end(start_many(vms, options, done))
}

/// An operation on machines, of which each is reported as it is done.
struct Action<'a, S> {
    context: &'a Context,
    wording: Wording,
    total: usize,
    show: S,
}

/// One machine after the operation: its error, and what `--json` shows of it.
type Done<T> = (Option<CliError>, Option<Acted<T>>);

impl<T: Serialize, S: Fn(&Vm) -> T> Action<'_, S> {
    /// Reports one machine.
    fn done(&self, vm: &Vm, result: Result<Change, impl Into<CliError>>) -> Done<T> {
        let result = result.map_err(Into::into);
        report(self.context, vm, self.wording, &result, self.total);
        let error = || result.as_ref().err().map(ErrorDocument::new);
        let json = self.context.output.json;
        let shown = json.then(|| Acted { vm: (self.show)(vm), error: error() });
        (result.err(), shown)
    }

    /// Ends the command.
    fn end(&self, acted: Vec<Done<T>>) -> Result<(), CliError> {
        if acted.is_empty() {
            self.context.output.note("no machine matches");
        }
        let (errors, shown): (Vec<_>, Vec<_>) = acted.into_iter().unzip();
        if self.context.output.json {
            self.context.output.json(&shown.into_iter().flatten().collect::<Vec<_>>())?;
        }
        let errors = errors.into_iter().flatten().collect();
        outcome(errors, self.total, self.wording.done, self.context.output.json)
    }
}

/// The result of a command on `total` machines, of which the document on stdout, if there is one, has
/// each with its own error.
///
/// # Errors
///
/// The machine's own error if there is one machine, [`CliError::Several`] if some of several failed.
pub(crate) fn outcome(
    mut errors: Vec<CliError>,
    total: usize,
    done: &'static str,
    has_document: bool,
) -> Result<(), CliError> {
    match (errors.len(), total) {
        (0, _) => Ok(()),
        (1, 1) if has_document => Err(CliError::InDocument(Box::new(errors.remove(0)))),
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
        Ok(Change::Reconnected) => {
            let already = wording.already;
            context.output.done(&format!("{name} is {already} already, and has its network back"));
        }
        Ok(_) => context.output.done(&format!("{} {name}", wording.done)),
    }
}
