//! `v vm ssh`: opens an ssh session in a machine.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use virshle_core::SshRequest;

use super::proxy::TIMEOUT;
use crate::context::Context;
use crate::error::CliError;
use crate::machines::Machine;
use crate::timeout;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Log in as USER [default: the user of its user data, else ssh's own]
    #[arg(short = 'l', long, value_name = "USER")]
    user: Option<String>,
    /// Pass OPTION to ssh, as with ssh -o; may be repeated
    #[arg(short = 'o', long = "option", value_name = "OPTION")]
    options: Vec<OsString>,
    /// Allocate a terminal for the command
    #[arg(short, long)]
    tty: bool,
    /// Wait at most TIME for the ssh server to answer
    ///
    /// A time such as 30s, 2m or 1m30s; a number without a unit is seconds
    #[arg(long, value_name = "TIME", default_value = TIMEOUT, value_parser = timeout::parse)]
    timeout: Duration,
    #[command(flatten)]
    machine: Machine,
    /// Run COMMAND instead of a shell
    ///
    /// The exit code is the command's, or 255 if ssh failed
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let vm = args.machine.find(&context.node()?)?;
    let timeout = humantime::format_duration(args.timeout).to_string().replace(' ', "");
    let arguments = ["vm", "proxy", "--fdpass", "--timeout", &timeout].map(OsString::from);
    let own = context.own_command()?;
    let keys = own.iter().cloned().chain(["vm", "known-hosts"].map(OsString::from));
    let proxy = own.iter().cloned().chain(arguments);
    let mut request = SshRequest::new(proxy).known_hosts(keys).command(args.command);
    if let Some(user) = args.user {
        request = request.user(user);
    }
    for option in args.options {
        request = request.option("-o").option(option);
    }
    if args.tty {
        request = request.option("-t");
    }
    // This process becomes ssh: signals, terminal and exit code are ssh's own.
    let source = vm.ssh(&request)?.exec();
    Err(CliError::Ssh { source })
}
