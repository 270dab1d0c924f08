//! `v node`: the commands for this host.

mod check;
mod info;
mod init;
mod ssh_config;
mod steps;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Create the node's directories, bridge and uplink if missing
    ///
    /// Also prints the lines that ~/.ssh/config needs for `ssh vm/NAME`, if they are missing
    Init(init::Args),
    /// Check this host for missing requirements and orphaned resources
    ///
    /// Below each missing requirement is the suggested fix. Orphaned resources are processes, ports,
    /// directories and sockets that belong to no running machine
    Check(check::Args),
    /// Show this node's location, capacity and machine counts
    #[command(aliases = ["show", "status"])]
    Info(info::Args),
    /// Print the ssh configuration for `ssh vm/NAME`
    ///
    /// With these lines in ~/.ssh/config, `ssh vm/NAME` opens a session in a machine; scp and rsync
    /// reach it as vm+NAME
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
