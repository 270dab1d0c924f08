//! `v vm ssh`

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
    /// Log in as USER [default: the one its user data made, else the one ssh would take]
    #[arg(short = 'l', long, value_name = "USER")]
    user: Option<String>,
    /// Give ssh an option of its configuration, as its own -o; may be repeated
    #[arg(short = 'o', long = "option", value_name = "OPTION")]
    options: Vec<OsString>,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// How long to wait for the ssh server of a machine that is coming up; a bare number is seconds
    #[arg(long, value_name = "TIME", default_value = TIMEOUT, value_parser = timeout::parse)]
    timeout: Duration,
    #[command(flatten)]
    machine: Machine,
    /// Run this instead of a shell; the exit code is the command's, or 255 if ssh failed
    #[arg(last = true, value_name = "COMMAND", help_heading = None)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let vm = args.machine.find(&context.node()?)?;
    let timeout = humantime::format_duration(args.timeout).to_string().replace(' ', "");
    let words = ["vm", "proxy", "--fdpass", "--timeout", &timeout].map(OsString::from);
    let own = context.own_command()?;
    let keys = own.iter().cloned().chain(["vm", "known-hosts"].map(OsString::from));
    let proxy = own.iter().cloned().chain(words);
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
    // It becomes ssh: signals, terminal and exit code are ssh's own.
    let source = vm.ssh(&request)?.exec();
    Err(CliError::Ssh { source })
}
