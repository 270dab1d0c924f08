//! `v node ssh-config`

use std::path::PathBuf;

use virshle_core::{InitMode, SshConfig};

use super::init;
use crate::context::Context;
use crate::error::CliError;

/// Print the lines of ~/.ssh/config by which ssh vm/NAME is a session in a machine, and scp and
/// rsync reach it as vm+NAME
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write them to ~/.ssh/config.d/virshle, which ~/.ssh/config then includes
    #[arg(long)]
    install: bool,
    /// Only say what would be written
    #[arg(long, requires = "install")]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let config = SshConfig::new(context.own_command()?)?;
    if !args.install {
        context.output.bytes(config.text());
        return Ok(());
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.filter(|home| home.is_absolute()).ok_or(CliError::NoHome)?;
    let mode = if args.dry_run { InitMode::DryRun } else { InitMode::Apply };
    init::show(&config.install(&home, mode)?, context)
}
