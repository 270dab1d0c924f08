//! `v vm stop`

use std::time::Duration;

use virshle_core::{StopRequest, Vm};

use crate::action::{Words, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;
use crate::timeout;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    how: How,
    // Last: its heading would be that of all that follow.
    #[command(flatten)]
    machines: Machines,
}

// How machines are stopped. (clap would take documentation for the command's.)
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct How {
    /// Cut the power instead: the guest is not asked
    #[arg(long)]
    force: bool,
    /// Wait so long for each guest, then fail and leave it on; a bare number is seconds
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
    /// The request that says so.
    pub(crate) fn request(&self) -> StopRequest {
        if self.force { StopRequest::force() } else { StopRequest::power_button(self.timeout) }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let words = Words { done: "stopped", already: "stopped" };
    let request = args.how.request();
    act(context, &selection, words, |vm| vm.stop(&request), Vm::info)
}
