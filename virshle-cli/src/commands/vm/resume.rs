//! `v vm resume`

use virshle_core::Vm;

use crate::action::{Words, act};
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
    let words = Words { done: "resumed", already: "running" };
    act(context, &selection, words, Vm::resume, Vm::info)
}
