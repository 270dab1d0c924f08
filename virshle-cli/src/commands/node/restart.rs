//! `v node restart`: starts a machine again that has ended.

use virshle_core::{RestartOutcome, StartOptions};

use super::ended::find;
use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The machine's uuid or directory, and after a colon the number of the restart
    machine: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let parts = args.machine.rsplit_once(':');
    let parts = parts.and_then(|(machine, attempt)| Some((machine, attempt.parse().ok()?)));
    let Some((machine, attempt)) = parts else {
        return Err(CliError::MachineId { text: args.machine.clone() });
    };
    let (node, uuid) = find(machine, context)?;
    if node.restart_ended(uuid, attempt, &StartOptions::default())? == RestartOutcome::Started {
        let name = node.vm(uuid).map_or_else(|_| uuid.to_string(), |vm| vm.name().to_string());
        context.output.done(&format!("restarted {name}"));
    }
    Ok(())
}
