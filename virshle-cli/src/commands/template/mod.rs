//! `v template`

mod check;
mod ls;
mod show;

use clap::Subcommand;
use virshle_core::template::{CloneMode, NetKind};

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// List the templates
    Ls(ls::Args),
    /// Show a template with everything that its defaults fill in
    Show(show::Args),
    /// Check a configuration, and tell every mistake in it
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

/// The word for a kind of network interface, as in the configuration.
fn net_kind(kind: NetKind) -> &'static str {
    match kind {
        NetKind::Vhost => "vhost",
        NetKind::Tap => "tap",
        NetKind::Macvtap => "macvtap",
    }
}

/// The word for a way of copying an image, as in the configuration.
fn clone_mode(mode: CloneMode) -> &'static str {
    match mode {
        CloneMode::Auto => "auto",
        CloneMode::Reflink => "reflink",
        CloneMode::Copy => "copy",
        CloneMode::Overlay => "overlay",
    }
}
