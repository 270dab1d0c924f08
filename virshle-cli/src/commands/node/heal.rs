//! `v node heal`: gives running machines their networks back.

use super::ended::find;
use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The machine's uuid, or its directory; every running machine unless given
    machine: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let (node, uuid) = match &args.machine {
        Some(machine) => {
            let (node, uuid) = find(machine, context)?;
            (node, Some(uuid))
        }
        None => (context.node()?, None),
    };
    let healed = node.heal(uuid)?;
    let (total, mut failed) = (healed.len(), 0);
    for healed in healed {
        match healed.missed {
            Ok(missed) => {
                for missed in missed {
                    context.output.done(&format!("{}: {missed}: put right", healed.vm));
                }
            }
            Err(error) => {
                failed += 1;
                context.report.draw_one_of_several(&error.into());
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(CliError::Several { failed, total, done: "given their networks back" }),
    }
}
