//! `v node boot`: starts the machines that start with the host.

use virshle_core::{InitMode, Node, Selection, StartOptions};

use crate::action;
use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    // Machines without a network need no switch.
    if let Err(error) = node.init(InitMode::Apply) {
        context.report.draw_one_of_several(&error.into());
    }
    note_ends(&node, context)?;
    let mut outcome = Ok(());
    let turns = node.boot_order()?;
    let last = turns.len().saturating_sub(1);
    for (place, turn) in turns.iter().enumerate() {
        let started = action::start(context, &turn.vms, &StartOptions::default());
        if place < last && !turn.delay.is_zero() {
            std::thread::sleep(turn.delay);
        }
        // One that does not start keeps no other from it.
        outcome = outcome.and(started);
    }
    outcome
}

/// Records how the runs have ended that the host took along, and frees their ports.
fn note_ends(node: &Node, context: &Context) -> Result<(), CliError> {
    for vm in node.select(&Selection::all())? {
        if let Err(error) = node.ended(vm.definition().uuid) {
            context.report.draw_one_of_several(&error.into());
        }
    }
    Ok(())
}
