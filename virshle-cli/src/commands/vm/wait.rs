//! `v vm wait`: waits until machines are ready.

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use virshle_core::{Awaited, Change, Vm};

use crate::action::{Wording, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;
use crate::timeout;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Wait for this
    #[arg(
        long = "for",
        value_name = "WHAT",
        default_value = Awaited::Ssh.word(),
        value_parser = awaited_parser()
    )]
    awaited: Awaited,
    /// Wait at most TIME for each machine
    ///
    /// A machine that is not ready by then counts as failed. A time such as 30s, 2m or 1m30s; a number
    /// without a unit is seconds
    #[arg(
        long,
        value_name = "TIME",
        default_value = "60s",
        value_parser = timeout::parse
    )]
    timeout: Duration,
    #[command(flatten)]
    machines: Machines,
}

fn awaited_parser() -> impl TypedValueParser<Value = Awaited> {
    PossibleValuesParser::new(Awaited::ALL.map(possible_value)).try_map(|value| {
        let awaited = Awaited::ALL.into_iter().find(|awaited| awaited.word() == value);
        awaited.ok_or("not one of the possible values")
    })
}

fn possible_value(awaited: Awaited) -> PossibleValue {
    PossibleValue::new(awaited.word()).help(match awaited {
        Awaited::Boot => "The machine runs",
        Awaited::Address => "An address is known that is not link-local",
        _ => "The ssh server answers",
    })
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let done = match args.awaited {
        Awaited::Boot => "booted",
        Awaited::Address => "located",
        _ => "reached",
    };
    let wait = |vm: &Vm| vm.wait(args.awaited, args.timeout).map(|()| Change::Done);
    act(context, &selection, Wording { done, already: done }, wait, Vm::info)
}
