//! `v vm start`

use virshle_core::{StartOptions, Vm};

use super::console;
use crate::action::{Words, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Attach the terminal to its serial console, as v vm console does; takes one machine
    #[arg(long, conflicts_with = "json")]
    attach: bool,
    /// Only machines whose template says autostart; a host runs this when it boots
    #[arg(long, help_heading = "Machines")]
    autostart: bool,
    // Last: its heading would be that of all that follow.
    #[command(flatten)]
    machines: Machines,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection_with_autostart(args.autostart)?;
    let words = Words { done: "started", already: "running" };
    let options = StartOptions::default();
    let mut attached = None;
    if args.attach {
        // Before anything is started: a terminal has room for one.
        let mut vms = context.node()?.select(&selection)?;
        attached = vms.pop();
        if !vms.is_empty() {
            return Err(CliError::SeveralNamed);
        }
    }
    act(context, &selection, words, |vm| vm.start(&options), Vm::info)?;
    attached.map_or(Ok(()), |vm| console::attach(&vm, context))
}
