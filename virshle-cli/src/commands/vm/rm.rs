//! `v vm rm`

use serde::Serialize;
use virshle_core::{Change, Force, Vm};

use crate::action::{Words, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Cut the power of machines that are on, which are refused otherwise
    #[arg(long)]
    force: bool,
    // Last: its heading would be that of all that follow.
    #[command(flatten)]
    machines: Machines,
}

/// What is left to say of a machine that was removed.
#[derive(Serialize)]
struct Identity {
    id: u64,
    name: String,
    uuid: String,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let words = Words { done: "removed", already: "removed" };
    let force = if args.force { Force::Yes } else { Force::No };
    let remove = |vm: &Vm| vm.remove(force).map(|()| Change::Done);
    let identity = |vm: &Vm| Identity {
        id: vm.definition().id,
        name: vm.name().to_string(),
        uuid: vm.definition().uuid.to_string(),
    };
    act(context, &selection, words, remove, identity)
}
