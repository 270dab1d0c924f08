//! `v image`

mod import;
mod info;
mod ls;
mod rm;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// List the images of the cache
    Ls(ls::Args),
    /// Take an image into the cache: unpacked, read-only, whole or not at all; templates name it by
    /// image = "NAME", and the same command goes on with a download that was interrupted
    Import(import::Args),
    /// Show everything about an image of the cache
    Info(info::Args),
    /// Remove an image from the cache, or a download of it that was interrupted; refused if a machine
    /// stands on it (clone = "overlay")
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
