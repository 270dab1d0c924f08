//! `v vm start`: starts machines.

use virshle_core::StartOptions;

use super::console;
use crate::action;
use crate::context::Context;
use crate::error::CliError;
use crate::machines::{MACHINES, Machines};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Attach to the machine's serial console (Ctrl-] detaches)
    ///
    /// As `v vm console` does, for one machine only
    #[arg(long, conflicts_with = "json")]
    attach: bool,
    /// Select only machines whose template sets autostart
    ///
    /// virshle.service starts these when the host boots, in their order
    #[arg(long, help_heading = MACHINES)]
    autostart: bool,
    #[command(flatten)]
    machines: Machines,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection_with_autostart(args.autostart)?;
    let vms = context.node()?.select(&selection)?;
    // Before anything is started: a terminal attaches to one machine.
    if args.attach && vms.len() > 1 {
        return Err(CliError::SeveralNamed);
    }
    action::start(context, &vms, &StartOptions::default())?;
    match vms.first() {
        Some(vm) if args.attach => console::attach(vm, context),
        _ => Ok(()),
    }
}
