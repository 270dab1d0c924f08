//! `v vm ls`

use std::cell::RefCell;

use virshle_core::{Listing, VmInfo, VmState};

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

/// A machine, or what kept it from being read.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Listed {
    Vm(Box<VmInfo>),
    Unreadable { error: ErrorDocument },
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let Listing { vms, broken, .. } = node.list(&args.filter.selection())?;
    for vm in vms.iter().filter(|vm| vm.state != VmState::Stopped) {
        node.bound_logs(vm.uuid);
    }
    let unreadable: RefCell<Vec<CliError>> =
        RefCell::new(broken.into_iter().map(CliError::from).collect());
    let output = &context.output;
    if output.json || context.verbose > 0 {
        // One that can't be read is told after all those that can.
        let readable = node.infos(&vms).filter_map(|info| {
            info.map_err(|error| unreadable.borrow_mut().push(error.into())).ok()
        });
        if output.json {
            let errors = || -> Vec<ErrorDocument> {
                unreadable.borrow().iter().map(ErrorDocument::new).collect()
            };
            let errors =
                std::iter::once_with(errors).flatten().map(|error| Listed::Unreadable { error });
            output.json_list(readable.map(|vm| Listed::Vm(Box::new(vm))).chain(errors))?;
        } else {
            let table = vm_table::detailed(readable, output.paint);
            output.table(&vm_table::heading(&node, output.paint), table);
        }
    } else {
        let table = vm_table::of_summaries(&vms, output.paint);
        output.table(&vm_table::heading(&node, output.paint), table);
    }
    let unreadable = unreadable.into_inner();
    unreadable.iter().for_each(|error| context.report.draw_one_of_several(error));
    match unreadable.len() {
        0 => Ok(()),
        count => Err(CliError::Unreadable { count }),
    }
}
