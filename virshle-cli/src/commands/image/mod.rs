//! `v image`

mod import;
mod info;
mod ls;
mod rm;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ls(ls::Args),
    Import(import::Args),
    Info(info::Args),
    Rm(rm::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Ls(args) => ls::run(&args, context),
            Self::Import(args) => import::run(args, context),
            Self::Info(args) => info::run(&args, context),
            Self::Rm(args) => rm::run(&args, context),
        }
    }
}
