//! `v vm publish`: publishes ports of machines, or lists those that are published.

use serde::Serialize;
use virshle_core::template::Publish;
use virshle_core::{Published, Vm, VmName};

use crate::action::{Wording, act};
use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::machines::Machines;

#[derive(clap::Args, Debug)]
#[command(override_usage = "v vm publish [OPTIONS] [MACHINE]... [PORT]...")]
pub(crate) struct Args {
    /// Publish the ports no longer
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    machines: Machines,
}

/// The ports of a machine, as JSON.
#[derive(Serialize)]
struct Ports<'a> {
    name: &'a VmName,
    published: Vec<Published>,
}

pub(crate) fn run(mut args: Args, context: &Context) -> Result<(), CliError> {
    // No machine's name has a ":".
    let words = args.machines.take_words(|word| word.contains(':'));
    let ports = words
        .iter()
        .map(|word| word.parse::<Publish>().map_err(|source| CliError::Publish { source }))
        .collect::<Result<Vec<_>, _>>()?;
    let selection = args.machines.selection()?;
    if ports.is_empty() {
        if args.remove {
            return Err(CliError::NoPort);
        }
        return list(&context.node()?.select(&selection)?, context);
    }
    let done = if args.remove { "published no longer" } else { "published" };
    let wording = Wording { done, already: "as asked for" };
    let show = |vm: &Vm| {
        let now = vm.node().vm(vm.definition().uuid);
        now.map_or_else(|_| vm.info(), |vm| vm.info())
    };
    let work = |vm: &Vm| {
        let change = if args.remove { vm.unpublish(&ports) } else { vm.publish(&ports) };
        if change.is_ok() && vm.publishes_later() {
            let name = escape(vm.name().as_str());
            context.output.note(&format!("{name}: from its next start on"));
        }
        change
    };
    act(context, &selection, wording, work, show)
}

fn list(vms: &[Vm], context: &Context) -> Result<(), CliError> {
    if context.output.json {
        let ports = |vm| {
            let vm: &Vm = vm;
            Ports { name: vm.name(), published: vm.published() }
        };
        return context.output.json(&vms.iter().map(ports).collect::<Vec<_>>());
    }
    for vm in vms {
        let name = escape(vm.name().as_str());
        for published in vm.published() {
            let Published { net, port, .. } = published;
            context.output.line(&format!("{name}: {} ({})", escape(&port), escape(&net)));
        }
    }
    Ok(())
}
