//! `v vm ls`

use virshle_core::{CoreError, Listing, Node, Sightings, VmInfo, VmState, VmSummary, in_parallel};

use crate::context::Context;
use crate::error::CliError;
use crate::machines::Filter;
use crate::report::ErrorDocument;
use crate::vm_table;

/// List the machines; with -v also their template, process, interfaces, addresses, age and uuid
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
}

/// A machine, or what kept it from being read.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Listed<'a> {
    Vm(&'a VmInfo),
    Unreadable { error: ErrorDocument },
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let Listing { vms, broken, .. } = node.list(&args.filter.selection())?;
    for vm in vms.iter().filter(|vm| vm.state != VmState::Stopped) {
        node.bound_logs(vm.uuid);
    }
    let mut unreadable: Vec<CliError> = broken.into_iter().map(CliError::from).collect();
    let output = &context.output;
    if output.json || context.verbose > 0 {
        let mut infos = Vec::new();
        let sightings = node.sightings();
        for info in in_parallel(vms, |vm| info(&node, &vm, &sightings)) {
            match info {
                Ok(Some(info)) => infos.push(info),
                Ok(None) => {}
                Err(error) => unreadable.push(error.into()),
            }
        }
        if output.json {
            let broken = unreadable
                .iter()
                .map(|error| Listed::Unreadable { error: ErrorDocument::new(error) });
            output.json(&infos.iter().map(Listed::Vm).chain(broken).collect::<Vec<_>>())?;
        } else {
            let table = vm_table::detailed(&infos, output.paint);
            output.text(&format!("{}{table}", vm_table::heading(&node, output.paint)));
        }
    } else {
        let table = vm_table::of_summaries(&vms, output.paint);
        output.text(&format!("{}{table}", vm_table::heading(&node, output.paint)));
    }
    unreadable.iter().for_each(|error| context.report.draw_one_of_several(error));
    match unreadable.len() {
        0 => Ok(()),
        count => Err(CliError::Unreadable { count }),
    }
}

/// Everything about a machine, unless it was removed meanwhile.
fn info(node: &Node, vm: &VmSummary, sightings: &Sightings) -> Result<Option<VmInfo>, CoreError> {
    match node.vm(vm.uuid) {
        Ok(vm) => Ok(Some(vm.info_among(sightings))),
        Err(CoreError::NoSuchVm { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
