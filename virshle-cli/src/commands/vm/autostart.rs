//! `v vm autostart`: shows or sets whether machines start with the host.

use virshle_core::{Setting, Vm};

use super::set::apply;
use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::machines::Machines;

#[derive(clap::Args, Debug)]
#[command(override_usage = "v vm autostart [OPTIONS] [MACHINE]... [on|off]")]
pub(crate) struct Args {
    #[command(flatten)]
    machines: Machines,
}

pub(crate) fn run(mut args: Args, context: &Context) -> Result<(), CliError> {
    match args.machines.take_last(|word| matches!(word, "on" | "off")) {
        Some(word) => apply(args.machines, &[Setting::Autostart(word == "on")], context),
        None => show(args.machines, context),
    }
}

fn show(machines: Machines, context: &Context) -> Result<(), CliError> {
    let vms = context.node()?.select(&machines.selection()?)?;
    if context.output.json {
        return context.output.json(&vms.iter().map(Vm::info).collect::<Vec<_>>());
    }
    for vm in vms {
        let definition = vm.definition();
        let order = definition.order.map(|order| format!(", order {order}")).unwrap_or_default();
        let on = if definition.autostart { "on" } else { "off" };
        context.output.line(&format!("{}: {on}{order}", escape(vm.name().as_str())));
    }
    Ok(())
}
