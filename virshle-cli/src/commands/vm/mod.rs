//! `v vm`

mod config;
mod console;
mod create;
mod info;
mod known_hosts;
mod logs;
mod ls;
mod pause;
mod proxy;
mod restart;
mod resume;
mod rm;
mod ssh;
mod start;
mod stop;
mod wait;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Make machines from a template, each with private copies of its images
    Create(create::Args),
    /// List the machines; with -v also their template, process, interfaces, addresses, age and uuid
    Ls(ls::Args),
    /// Start machines, and wait until they run
    Start(start::Args),
    /// Press the power button of machines, and wait until they are off
    Stop(stop::Args),
    /// Stop machines and start them again; start those that are stopped
    Restart(restart::Args),
    /// Let machines stand still, with all that is in their memory
    Pause(pause::Args),
    /// Let paused machines go on
    Resume(resume::Args),
    /// Remove machines with their disks, for good
    Rm(rm::Args),
    /// Show everything about a machine
    Info(info::Args),
    /// Print what a machine is made of: its definition, as it lies in its folder
    Config(config::Args),
    /// Open a session in a machine, or run a command there, with the system's ssh
    Ssh(ssh::Args),
    /// Type at a machine's serial console, and see what it writes; Ctrl-] detaches
    ///
    /// What the guest wrote last is shown first. Any number of consoles may be open. A serial line has no
    /// window size: `stty rows N cols N` tells the guest.
    Console(console::Args),
    /// Wait until machines run, have an address, or can be entered by ssh
    Wait(wait::Args),
    /// Print the logs of machines; to a terminal only text and colours
    Logs(logs::Args),
    /// Connect the standard input and output to the ssh server of a machine
    ///
    /// For `ProxyCommand` of ssh_config(5), which `v node ssh-config` prints
    #[command(hide = true)]
    Proxy(proxy::Args),
    /// Print the keys of a machine's ssh server, and remember the first one
    ///
    /// For `KnownHostsCommand` of ssh_config(5), which `v node ssh-config` prints
    #[command(hide = true)]
    KnownHosts(known_hosts::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Create(args) => create::run(&args, context),
            Self::Ls(args) => ls::run(args, context),
            Self::Start(args) => start::run(args, context),
            Self::Stop(args) => stop::run(args, context),
            Self::Restart(args) => restart::run(args, context),
            Self::Pause(args) => pause::run(args, context),
            Self::Resume(args) => resume::run(args, context),
            Self::Rm(args) => rm::run(args, context),
            Self::Info(args) => info::run(args, context),
            Self::Config(args) => config::run(args, context),
            Self::Ssh(args) => ssh::run(args, context),
            Self::Console(args) => console::run(args, context),
            Self::Wait(args) => wait::run(args, context),
            Self::Proxy(args) => proxy::run(&args, context),
            Self::KnownHosts(args) => known_hosts::run(&args, context),
            Self::Logs(args) => logs::run(args, context),
        }
    }
}
