//! `v node init`: creates what the node needs on this host.

use virshle_core::InitMode;

use super::{ssh_config, steps};
use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape_lines;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print what would be created, and create nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mode = if args.dry_run { InitMode::DryRun } else { InitMode::Apply };
    steps::show(&context.node()?.init(mode)?, context)?;
    let lines = (!context.output.json).then(|| ssh_config::missing_lines(context));
    if let Some(lines) = lines.flatten() {
        context.output.note(&format!(
            "\n`ssh vm/NAME` works with these lines in ~/.ssh/config; `v node ssh-config --install` \
             adds them:\n\n{}",
            escape_lines(&lines)
        ));
    }
    Ok(())
}
