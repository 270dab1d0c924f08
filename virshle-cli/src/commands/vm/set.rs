//! `v vm set`: changes settings of machines.

use virshle_core::{Setting, Vm};

use crate::action::{Wording, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;

#[derive(clap::Args, Debug)]
#[command(override_usage = "v vm set [OPTIONS] [MACHINE]... KEY=VALUE...")]
pub(crate) struct Args {
    #[command(flatten)]
    machines: Machines,
}

pub(crate) fn run(mut args: Args, context: &Context) -> Result<(), CliError> {
    // No machine's name has a "=".
    let words = args.machines.take_words(|word| word.contains('='));
    let settings = words
        .iter()
        .map(|word| word.parse::<Setting>().map_err(|source| CliError::Setting { source }))
        .collect::<Result<Vec<_>, _>>()?;
    if settings.is_empty() {
        return Err(CliError::NoSetting);
    }
    apply(args.machines, &settings, context)
}

/// Changes the settings of the machines that are selected.
pub(super) fn apply(
    machines: Machines,
    settings: &[Setting],
    context: &Context,
) -> Result<(), CliError> {
    let selection = machines.selection()?;
    let wording = Wording { done: "changed", already: "as asked for" };
    let show = |vm: &Vm| {
        let now = vm.node().vm(vm.definition().uuid);
        now.map_or_else(|_| vm.info(), |vm| vm.info())
    };
    act(context, &selection, wording, |vm| vm.set(settings), show)
}
