//! `v vm rm`: removes machines.

use serde::Serialize;
use virshle_core::{Change, Force, Vm};

use crate::action::{Wording, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Power off running machines first, which are refused otherwise
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    machines: Machines,
}

/// A removed machine, as JSON.
#[derive(Serialize)]
struct Identity {
    id: u64,
    name: String,
    uuid: String,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let wording = Wording { done: "removed", already: "removed" };
    let force = if args.force { Force::Yes } else { Force::No };
    let remove = |vm: &Vm| vm.remove(force).map(|()| Change::Done);
    let identity = |vm: &Vm| Identity {
        id: vm.id(),
        name: vm.name().to_string(),
        uuid: vm.uuid().to_string(),
    };
    act(context, &selection, wording, remove, identity)
}
