//! `v node`

mod check;
mod info;
mod init;
mod ssh_config;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Make the folders, the bridge and the link to the uplink, as far as they aren't there
    ///
    /// Ends by printing the lines that ~/.ssh/config lacks for ssh vm/NAME
    Init(init::Args),
    /// Tell what this host lacks and how to mend it, and what belongs to no machine
    Check(check::Args),
    /// Show where this node is, what room it has, and how many machines
    Info(info::Args),
    /// Print the lines of ~/.ssh/config by which ssh vm/NAME is a session in a machine, and scp and
    /// rsync reach it as vm+NAME
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
