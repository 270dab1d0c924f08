//! `v template`: the commands for templates.

pub(crate) mod check;
mod keyword;
mod ls;
mod show;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// List the templates
    #[command(aliases = ["list"])]
    Ls(ls::Args),
    /// Show a template, defaults included
    #[command(aliases = ["info", "inspect"])]
    Show(show::Args),
    /// Check a configuration and report every mistake
    Check(check::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Ls(args) => ls::run(&args, context),
            Self::Show(args) => show::run(&args, context),
            Self::Check(args) => check::run(&args, context),
        }
    }
}
