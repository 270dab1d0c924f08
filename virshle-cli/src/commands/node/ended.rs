//! `v node ended`: looks after a machine that has ended.

use std::path::{Path, PathBuf};

use uuid::Uuid;
use virshle_core::{EndedOutcome, Node};

use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The machine's uuid, or its directory
    machine: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let (node, uuid) = find(&args.machine, context)?;
    let name = node.vm(uuid).map_or_else(|_| uuid.to_string(), |vm| vm.name().to_string());
    let outcome = node.ended(uuid)?;
    if let Some(text) = text(outcome) {
        context.output.done(&format!("{name} {text}"));
    }
    Ok(())
}

fn text(outcome: EndedOutcome) -> Option<String> {
    Some(match outcome {
        EndedOutcome::Left { exit } => format!("has ended ({})", exit.word()),
        EndedOutcome::Restarts { exit, at, attempt } => {
            format!("has ended ({}); restart {attempt} at {at}", exit.word())
        }
        EndedOutcome::HeldBack { exit } => {
            format!("has ended ({}), and is not restarted: `v vm info` shows why", exit.word())
        }
        _ => return None,
    })
}

/// The node and the uuid of the machine that a unit of systemd calls `machine`: by its uuid alone where
/// `v` looks for machines, else by its directory. The node has the configuration that the machine was
/// started with.
pub(super) fn find(machine: &str, context: &Context) -> Result<(Node, Uuid), CliError> {
    let wrong = || CliError::MachineId { text: machine.to_owned() };
    let (root, uuid) = match machine.parse::<Uuid>() {
        Ok(uuid) => (None, uuid),
        Err(_) => {
            let path = Path::new(machine);
            let uuid =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let root = path.parent().and_then(Path::parent);
            let (Some(uuid), Some(root), true) = (uuid, root, path.is_absolute()) else {
                return Err(wrong());
            };
            (Some(root.to_owned()), uuid)
        }
    };
    let node = context.node_at(root.as_deref(), None)?;
    let directory: PathBuf = node.root().join("vm").join(uuid.to_string());
    match virshle_core::recorded_config(&directory) {
        Some(config) if node.config().origin() != Some(&config) => {
            // What it was started with may be gone: then with what is there.
            let root = node.root().to_owned();
            Ok((context.node_at(Some(&root), Some(&config)).unwrap_or(node), uuid))
        }
        _ => Ok((node, uuid)),
    }
}
