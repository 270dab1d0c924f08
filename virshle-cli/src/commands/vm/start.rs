//! `v vm start`

use virshle_core::{StartOptions, Vm};

use super::console;
use crate::action::{Words, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;

/// Start machines, and wait until they run
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    machines: Machines,
    /// Only machines whose template says autostart; a host runs this when it boots
    #[arg(long, help_heading = "Machines")]
    autostart: bool,
    /// Attach the terminal to the serial console of the one machine that is meant
    #[arg(long, conflicts_with = "json")]
    attach: bool,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection_with_autostart(args.autostart)?;
    let words = Words { done: "started", already: "running" };
    let options = StartOptions::default();
    act(context, &selection, words, |vm| vm.start(&options), Vm::info)?;
    if args.attach
        && let [vm] = context.node()?.select(&selection)?.as_slice()
    {
        return console::attach(vm, context);
    }
    Ok(())
}
