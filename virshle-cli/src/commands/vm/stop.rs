//! `v vm stop`: shuts down machines.

use std::time::Duration;

use virshle_core::{StopRequest, Vm};

use crate::action::{Wording, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;
use crate::timeout;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    machines: Machines,
}

// How to stop. (clap would take a doc comment for the command's help.)
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct How {
    /// Power off at once, without a shutdown of the guest
    #[arg(short, long)]
    force: bool,
    /// Wait at most TIME for each guest to shut down
    ///
    /// A guest that has not shut down by then keeps running, and the command fails. A time such as 30s,
    /// 2m or 1m30s; a number without a unit is seconds
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        value_parser = timeout::parse,
        conflicts_with = "force"
    )]
    timeout: Duration,
}

impl How {
    /// The request for the core.
    pub(crate) fn request(&self) -> StopRequest {
        if self.force { StopRequest::force() } else { StopRequest::power_button(self.timeout) }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let wording = Wording { done: "stopped", already: "stopped" };
    let request = args.how.request();
    act(context, &selection, wording, |vm| vm.stop(&request), Vm::info)
}
