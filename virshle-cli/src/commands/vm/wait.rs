//! `v vm wait`

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use virshle_core::{Awaited, Change, Vm};

use crate::action::{Words, act};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machines;
use crate::timeout;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What to wait for. boot: it runs; address: one is known, link-local ones aside; ssh: its ssh
    /// server answers
    #[arg(
        long = "for",
        value_name = "WHAT",
        default_value = Awaited::Ssh.word(),
        value_parser = awaited_parser()
    )]
    awaited: Awaited,
    /// How long to wait for each machine before it counts as failed; a bare number is seconds
    #[arg(
        long,
        value_name = "TIME",
        default_value = "60s",
        value_parser = timeout::parse
    )]
    timeout: Duration,
    // Last: its heading would be that of all that follow.
    #[command(flatten)]
    machines: Machines,
}

fn awaited_parser() -> impl TypedValueParser<Value = Awaited> {
    PossibleValuesParser::new(Awaited::ALL.map(Awaited::word)).try_map(|word| {
        Awaited::ALL.into_iter().find(|awaited| awaited.word() == word).ok_or("no such thing")
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
    act(context, &selection, Words { done, already: done }, wait, Vm::info)
}
