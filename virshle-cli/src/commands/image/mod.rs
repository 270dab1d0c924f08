//! `v image`: the commands for the image cache.

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
    /// List the images in the cache
    #[command(aliases = ["list"])]
    Ls(ls::Args),
    /// Import an image into the cache
    ///
    /// The image is decompressed, checked and stored read-only; it appears in the cache only when it
    /// is complete. A template uses it with image = "NAME". To resume an interrupted download, run the
    /// same command again
    Import(import::Args),
    /// Show details of an image
    #[command(aliases = ["show", "inspect"])]
    Info(info::Args),
    /// Remove an image, or an interrupted download of one
    ///
    /// Refused while a machine uses the image as a backing file (clone = "overlay")
    #[command(aliases = ["remove", "delete"])]
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
