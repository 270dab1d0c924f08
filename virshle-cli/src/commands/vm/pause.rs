//! `v vm pause`: pauses machines.

use virshle_core::Vm;

use crate::action::{Wording, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    machines: Machines,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let wording = Wording { done: "paused", already: "paused" };
    act(context, &selection, wording, Vm::pause, Vm::info)
}
