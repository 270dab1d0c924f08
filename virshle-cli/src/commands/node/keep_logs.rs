//! `v node keep-logs`: what keeps the logs of a machine's VMM within bounds.

use virshle_core::hypervisor::keep_logs;

use crate::error::CliError;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The descriptors that the events come from, and go to
    #[arg(value_names = ["FROM", "TO"], num_args = 2)]
    events: Vec<i32>,
}

pub(crate) fn run(args: &Args) -> Result<(), CliError> {
    let events = match args.events[..] {
        [from, to] => Some([from, to]),
        _ => None,
    };
    keep_logs(events).map_err(|source| CliError::KeepLogs { source })
}
