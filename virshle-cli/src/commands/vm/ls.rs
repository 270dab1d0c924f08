//! `v vm ls`: lists machines.

use virshle_core::{Listing, Node, VmInfo, VmState, VmSummary};

use crate::context::Context;
use crate::error::CliError;
use crate::machines::Filter;
use crate::report::ErrorDocument;
use crate::vm_table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
}

/// A machine, or the error of one whose definition can't be read.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Listed {
    Vm(Box<VmInfo>),
    Unreadable { error: ErrorDocument },
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let Listing { vms, broken, .. } = node.list(&args.filter.selection())?;
    bound_logs(&node, &vms);
    let mut errors: Vec<CliError> = broken.into_iter().map(CliError::from).collect();
    let output = &context.output;
    if output.json {
        // One machine at a time: a long listing is never whole in memory.
        output.json_list(|push| {
            for info in node.infos(&vms) {
                match info {
                    Ok(vm) => push(Listed::Vm(Box::new(vm)))?,
                    Err(error) => errors.push(error.into()),
                }
            }
            for error in &errors {
                push(Listed::Unreadable { error: ErrorDocument::new(error) })?;
            }
            Ok(())
        })?;
    } else {
        let mut table;
        if context.verbose > 0 {
            table = vm_table::detailed(output.paint);
            for info in node.infos(&vms) {
                match info {
                    Ok(vm) => vm_table::push_detailed(&mut table, vm),
                    Err(error) => errors.push(error.into()),
                }
            }
        } else {
            table = vm_table::of_summaries(&vms, output.paint);
        }
        output.table(&vm_table::heading(&node, output.paint), table);
    }
    errors.iter().for_each(|error| context.report.draw_one_of_several(error));
    match errors.len() {
        0 => Ok(()),
        count => Err(CliError::Unreadable { count }),
    }
}

/// Cuts the logs of running machines that have grown too long.
///
/// No process stands between a guest and its log, so the commands that look at machines do it.
fn bound_logs(node: &Node, vms: &[VmSummary]) {
    for vm in vms.iter().filter(|vm| vm.state != VmState::Stopped) {
        node.bound_logs(vm.uuid);
    }
}
