//! `v node`: the commands for this host.

mod boot;
mod check;
mod ended;
mod heal;
mod info;
mod init;
mod keep_logs;
mod reset;
mod restart;
mod setup;
mod shutdown;
mod ssh_config;
mod steps;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Create the node's directories, bridge, uplink and managed network if missing
    ///
    /// Also prints the lines that ~/.ssh/config needs for `ssh vm/NAME`, if they are missing
    Init(init::Args),
    /// Download cloud-hypervisor and its firmware, and print the commands for the rest
    ///
    /// Both are what no distribution has: files of pinned releases, which are compared with their
    /// checksums. An interrupted download is resumed by the same command. What is there already stays as
    /// it is. Open vSwitch, passt and ssh come from the distribution, by the commands that are printed
    Setup(setup::Args),
    /// Check this host for missing requirements and orphaned resources
    ///
    /// Below each missing requirement is the suggested fix. Orphaned resources are processes, ports,
    /// directories and sockets that belong to no running machine
    Check(check::Args),
    /// Take the managed network away
    ///
    /// Ends what `v node init` has set up for [network] subnet: dnsmasq, the rules of nftables, the host's
    /// address, forwarding if it was off before. Machines, their disks and their addresses stay, and so does
    /// the bridge
    Reset(reset::Args),
    /// Show this node's location, capacity and machine counts
    #[command(aliases = ["show", "status"])]
    Info(info::Args),
    /// Print the ssh configuration for `ssh vm/NAME`
    ///
    /// With these lines in ~/.ssh/config, `ssh vm/NAME` opens a session in a machine; scp and rsync
    /// reach it as vm+NAME
    SshConfig(ssh_config::Args),
    /// Start the machines that start with the host
    ///
    /// virshle.service runs it when the host boots: those of a lower order first, and after a delay where
    /// one is set. What the node needs is created before, as by `v node init`
    #[command(hide = true)]
    Boot(boot::Args),
    /// Shut down all machines
    ///
    /// virshle.service runs it before the host goes down. All guests are sent an ACPI power button event
    /// at once; those that have not shut down in time lose their power
    #[command(hide = true)]
    Shutdown(shutdown::Args),
    /// Record the end of a machine, free its ports, and arrange for its restart
    ///
    /// virshle-ended@.service runs it when a machine has ended
    #[command(hide = true)]
    Ended(ended::Args),
    /// Give running machines back what is missing of their networks
    ///
    /// virshle-heal.service runs it when the switch was started anew or the managed network's dnsmasq has
    /// ended, virshle-heal@.service when a passt has died. What works is not touched
    #[command(hide = true)]
    Heal(heal::Args),
    /// Keep the logs of a machine's VMM within bounds
    ///
    /// A start runs it beside the VMM, with which it ends
    #[command(hide = true)]
    KeepLogs(keep_logs::Args),
    /// Start a machine again that has ended
    ///
    /// virshle-restart@.service runs it when a restart is due
    #[command(hide = true)]
    Restart(restart::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Init(args) => init::run(&args, context),
            Self::Setup(args) => setup::run(&args, context),
            Self::Check(args) => check::run(&args, context),
            Self::Reset(args) => reset::run(&args, context),
            Self::Info(args) => info::run(&args, context),
            Self::SshConfig(args) => ssh_config::run(&args, context),
            Self::Boot(args) => boot::run(&args, context),
            Self::Shutdown(args) => shutdown::run(&args, context),
            Self::Ended(args) => ended::run(&args, context),
            Self::Heal(args) => heal::run(&args, context),
            Self::KeepLogs(args) => keep_logs::run(&args),
            Self::Restart(args) => restart::run(&args, context),
        }
    }
}
