//! `v image`: the commands for the image cache.

mod import;
mod info;
mod ls;
pub(crate) mod pull;
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
    /// Download an image of a distribution by its name
    ///
    /// Such as debian, debian:13 or ubuntu:24.04; `v image ls --remote` lists all. It is compared with the
    /// checksum that its publisher has for it, and stored as NAME-VERSION. A template uses it with image =
    /// "debian:13", and then the first machine pulls it. To have a newer one, remove it first
    Pull(pull::Args),
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
            Self::Pull(args) => pull::run(&args, context),
            Self::Import(args) => import::run(args, context),
            Self::Info(args) => info::run(&args, context),
            Self::Rm(args) => rm::run(&args, context),
        }
    }
}
