//! `v net`: the commands for the switch that machines are plugged into.

mod capture;
mod ls;
mod trace;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// List the bridges of the switch and their ports
    ///
    /// Each port with its machine, VLAN, address, link, and what the guard has dropped; with -v also
    /// rates and traffic
    #[command(aliases = ["list"])]
    Ls(ls::Args),
    /// Show what the switch would do with a packet
    ///
    /// Nothing is sent: the switch is asked which way the packet would go
    Trace(trace::Args),
    /// Show the frames of a machine, or write them to a file
    ///
    /// The switch mirrors the machine's port while this runs. One line is printed for each frame; with
    /// --pcap all of it goes to a file
    Capture(capture::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Ls(args) => ls::run(&args, context),
            Self::Trace(args) => trace::run(&args, context),
            Self::Capture(args) => capture::run(&args, context),
        }
    }
}
