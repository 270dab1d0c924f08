//! `v node init`

use virshle_core::{InitMode, InitOutcome, InitStep};

use super::ssh_config;
use crate::context::Context;
use crate::error::CliError;
use crate::escape::{escape, escape_lines};
use crate::paint;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only say what would be made
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mode = if args.dry_run { InitMode::DryRun } else { InitMode::Apply };
    show(&context.node()?.init(mode)?, context)?;
    if !context.output.json
        && let Some(lines) = ssh_config::missing_lines(context)
    {
        context.output.note(&format!(
            "\n`ssh vm/NAME` works with these lines in ~/.ssh/config; `v node ssh-config --install` \
             writes them:\n\n{}",
            escape_lines(&lines)
        ));
    }
    Ok(())
}

/// Tells what became of each thing.
pub(super) fn show(steps: &[InitStep], context: &Context) -> Result<(), CliError> {
    if context.output.json {
        return context.output.json(steps);
    }
    for step in steps {
        let (outcome, style) = match step.outcome {
            InitOutcome::Made => ("made", paint::GOOD),
            InitOutcome::Would => ("would make", paint::WARNING),
            _ => ("there already", paint::FAINT),
        };
        let outcome = context.output.paint.paint(style, &format!("{outcome:13}"));
        context.output.line(&format!("{outcome}  {}", escape(&step.what)));
    }
    Ok(())
}
