//! `v vm restart`: restarts machines.

use virshle_core::{StartOptions, Vm};

use super::stop::How;
use crate::action::{Wording, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    machines: Machines,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let wording = Wording { done: "restarted", already: "running" };
    let (request, options) = (args.how.request(), StartOptions::default());
    let _waiting = args.how.tell_who_waits(context);
    act(context, &selection, wording, |vm| vm.restart(&request, &options), Vm::info)
}
