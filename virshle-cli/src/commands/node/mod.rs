//! `v node`

mod check;
mod info;
mod init;
mod ssh_config;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Check(check::Args),
    Info(info::Args),
    SshConfig(ssh_config::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Init(args) => init::run(&args, context),
            Self::Check(args) => check::run(&args, context),
            Self::Info(args) => info::run(&args, context),
            Self::SshConfig(args) => ssh_config::run(&args, context),
        }
    }
}
