//! `v vm why`: shows how the last runs of a machine ended.

use std::time::Duration;

use virshle_core::{LastExit, PastRun, Vm};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::machines::Machine;
use crate::paint;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let vm = args.machine.find(&context.node()?)?;
    let runs = vm.history();
    if context.output.json {
        return context.output.json(&runs);
    }
    for dead in vm.dead_networks() {
        context.output.line(&escape(&format!("it runs, without a network: {dead}")));
    }
    if runs.is_empty() {
        context.output.note(&format!("{} has not ended yet", escape(vm.name().as_str())));
    }
    for (place, run) in runs.iter().enumerate() {
        show(run, place == 0, &vm, context);
    }
    Ok(())
}

/// Prints one run; of the last one also what shows it, and what to do.
fn show(run: &PastRun, is_last: bool, vm: &Vm, context: &Context) {
    let paint = context.output.paint;
    let by = run.by.as_deref().map(|by| format!(", by {}", escape(by))).unwrap_or_default();
    let ran = match run.seconds {
        Some(seconds) => {
            let time = humantime::format_duration(Duration::from_secs(seconds));
            format!("after {time}")
        }
        None => "after an unknown time".into(),
    };
    let exit = paint.paint(paint::STRONG, run.exit.word());
    context.output.line(&format!("{}  {exit}{by}, {ran}: {}", run.ended, meaning(run.exit)));
    if !is_last {
        return;
    }
    for line in &run.evidence {
        context.output.line(&format!("  {}", paint.paint(paint::FAINT, &escape(line))));
    }
    if let Some(hint) = hint(run.exit, &escape(vm.name().as_str())) {
        context.output.line(&format!("  {}", paint.paint(paint::HINT, &hint)));
    }
    let restart = vm.info().restart;
    if let Some(why) = restart.held_back {
        context.output.line(&format!("  not restarted: {}", escape(&why)));
    }
    if let Some(next) = restart.next {
        context.output.line(&format!("  restart {} at {next}", restart.attempts + 1));
    }
}

fn meaning(exit: LastExit) -> &'static str {
    match exit {
        LastExit::Guest => "the guest powered itself off",
        LastExit::Stopped => "it was shut down",
        LastExit::Forced => "its power was cut",
        LastExit::Crashed => "cloud-hypervisor ended without being asked to",
        LastExit::Panic => "the guest's kernel panicked",
        LastExit::Oom => "the kernel killed cloud-hypervisor for want of memory",
        LastExit::Host => "the host went down",
        _ => "nothing shows why",
    }
}

fn hint(exit: LastExit, vm: &str) -> Option<String> {
    Some(match exit {
        LastExit::Crashed => {
            format!(
                "`v vm logs {vm}` has all of it; `v vm set {vm} restart=on-failure` restarts it"
            )
        }
        LastExit::Panic => format!(
            "`v vm logs {vm}` has the trace; `v vm set {vm} restart=on-failure` restarts it"
        ),
        LastExit::Oom => format!(
            "`v vm set {vm} memory_overhead=1G` raises its limit, which `v vm info {vm}` shows; or give \
             the host more memory"
        ),
        LastExit::Host => {
            format!("`v vm autostart {vm} on` starts it with the host")
        }
        LastExit::Unknown => format!("`v vm logs {vm}` may show more"),
        _ => return None,
    })
}
