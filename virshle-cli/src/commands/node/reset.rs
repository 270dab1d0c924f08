//! `v node reset`: takes the managed network away.

use virshle_core::{Force, InitMode};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print what would be taken away, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also while machines run on it: they lose their network
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mode = if args.dry_run { InitMode::DryRun } else { InitMode::Apply };
    let force = if args.force { Force::Yes } else { Force::No };
    let removed = context.node()?.reset(mode, force)?;
    if context.output.json {
        return context.output.json(&removed);
    }
    let (outcome, style) =
        if args.dry_run { ("would remove", paint::WARNING) } else { ("removed", paint::GOOD) };
    for what in &removed {
        let outcome = context.output.paint.paint(style, &format!("{outcome:12}"));
        context.output.line(&format!("{outcome}  {}", escape(what)));
    }
    if removed.is_empty() {
        context.output.note("there is no managed network here");
    }
    Ok(())
}
