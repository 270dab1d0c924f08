//! `v vm start`

use virshle_core::{StartOptions, Starter, Vm};

use super::console;
use crate::action::{Words, act_on};
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
    let vms = context.node()?.select(&selection)?;
    // Before anything is started: a terminal has room for one.
    if args.attach && vms.len() > 1 {
        return Err(CliError::SeveralNamed);
    }
    let starter = Starter::new(&vms, StartOptions::default());
    act_on(context, &vms, words, |vm| starter.start(vm), Vm::info)?;
    match vms.first() {
        Some(vm) if args.attach => console::attach(vm, context),
        _ => Ok(()),
    }
}
