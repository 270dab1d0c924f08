//! `v vm ssh`: opens an ssh session in a machine.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use virshle_core::{CoreError, GuestError, SSH_PORT, SshRequest, Vm, machine_of_host};

use super::held;
use super::proxy::{TIMEOUT, connect};
use crate::context::Context;
use crate::error::CliError;
use crate::machines::MachineAndWords;
use crate::timeout;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Log in as USER [default: the user of its user data, else ssh's own]
    #[arg(short = 'l', long, value_name = "USER")]
    user: Option<String>,
    /// Use the private key in FILE; may be repeated
    #[arg(short, long = "identity", value_name = "FILE")]
    identities: Vec<PathBuf>,
    /// Connect to this port of the machine
    #[arg(short, long, value_name = "PORT", default_value_t = SSH_PORT)]
    port: u16,
    /// Forward a port of this host to the machine, as with ssh -L; may be repeated
    #[arg(short = 'L', value_name = "FORWARD")]
    local_forwards: Vec<OsString>,
    /// Forward a port of the machine to this host, as with ssh -R; may be repeated
    #[arg(short = 'R', value_name = "FORWARD")]
    remote_forwards: Vec<OsString>,
    /// Forward ports by SOCKS, as with ssh -D; may be repeated
    #[arg(short = 'D', value_name = "FORWARD")]
    dynamic_forwards: Vec<OsString>,
    /// Connect stdin and stdout to HOST:PORT from the machine, as with ssh -W
    #[arg(short = 'W', value_name = "HOST:PORT")]
    stdio_forward: Option<OsString>,
    /// Read ssh's configuration from FILE, as with ssh -F
    #[arg(short = 'F', value_name = "FILE")]
    config_file: Option<OsString>,
    /// Forward X11, as with ssh -X
    #[arg(short = 'X')]
    x11: bool,
    /// Forward X11, trusted, as with ssh -Y
    #[arg(short = 'Y')]
    x11_trusted: bool,
    /// Compress what is sent, as with ssh -C
    #[arg(short = 'C')]
    compress: bool,
    /// Read nothing from stdin, as with ssh -n
    #[arg(short = 'n')]
    no_stdin: bool,
    /// Forward the ssh agent
    #[arg(short = 'A')]
    agent: bool,
    /// Run no command, only forward ports
    #[arg(short = 'N')]
    no_command: bool,
    /// Pass OPTION to ssh, as with ssh -o; may be repeated
    #[arg(short = 'o', long = "option", value_name = "OPTION")]
    options: Vec<OsString>,
    /// Allocate a terminal for the command
    #[arg(short, long)]
    tty: bool,
    /// Allocate no terminal
    #[arg(short = 'T', conflicts_with = "tty")]
    no_tty: bool,
    /// Wait at most TIME for the ssh server to answer
    ///
    /// A time such as 30s, 2m or 1m30s; a number without a unit is seconds
    #[arg(long, value_name = "TIME", default_value = TIMEOUT, value_parser = timeout::parse)]
    timeout: Duration,
    #[command(flatten)]
    machine: MachineAndWords,
}

pub(crate) fn run(mut args: Args, context: &Context) -> Result<(), CliError> {
    let words = args.machine.take_words();
    let user = args.user.take().or_else(|| args.machine.take_user());
    let vm = std::mem::take(&mut args.machine).find(&context.node()?, machine_of_host)?;
    let own = context.own_command()?;
    let proxy = proxy(&vm, &args, &own, context)?;
    let mut request = request(proxy, &own, words);
    if let Some(user) = user {
        request = request.user(user);
    }
    for option in options(args) {
        request = request.option(option);
    }
    // This process becomes ssh: signals, terminal and exit code are ssh's own.
    let source = vm.ssh(&request)?.exec();
    Err(CliError::Ssh { source })
}

fn request(proxy: Vec<OsString>, own: &[OsString], words: Vec<OsString>) -> SshRequest {
    let keys = own.iter().cloned().chain(["vm", "known-hosts"].map(OsString::from));
    SshRequest::new(proxy).known_hosts(keys).command(words)
}

/// Waits until the machine's ssh server answers.
pub(crate) fn await_answer(vm: &Vm, timeout: Duration, context: &Context) -> Result<(), CliError> {
    vm.check_reachable()?;
    Ok(connect(vm, SSH_PORT, timeout, context).map(drop)?)
}

/// The session in a machine whose ssh server answers, with these options of ssh.
pub(crate) fn command(
    vm: &Vm,
    own: &[OsString],
    options: &[OsString],
    words: Vec<OsString>,
) -> Result<Command, CliError> {
    let connects = ["vm", "proxy", "--fdpass"].map(OsString::from);
    let proxy = own.iter().cloned().chain(connects).collect();
    let options = options.iter().cloned();
    let request = options.fold(request(proxy, own, words), SshRequest::option);
    Ok(vm.ssh(&request)?)
}

/// The command by which ssh gets the connection. It is there already: what fails, fails here.
fn proxy(
    vm: &Vm,
    args: &Args,
    own: &[OsString],
    context: &Context,
) -> Result<Vec<OsString>, CliError> {
    vm.check_reachable()?;
    let stream = connect(vm, args.port, args.timeout, context).map_err(|error| match error {
        error @ GuestError::Unreachable { .. } => {
            CliError::Session { source: CoreError::from(error) }
        }
        error => error.into(),
    })?;
    // ssh is this process soon.
    vm.note_contact(std::process::id(), stream.route());
    let timeout = humantime::format_duration(args.timeout).to_string().replace(' ', "");
    let port = args.port.to_string();
    let connects = ["vm", "proxy", "--fdpass", "--port", &port, "--timeout", &timeout];
    let mut proxy: Vec<OsString> =
        own.iter().cloned().chain(connects.map(OsString::from)).collect();
    match held::start(own, vm.name().as_str(), stream) {
        Ok(name) => proxy.extend(["--held".into(), name.into()]),
        // Then ssh gets another connection.
        Err(error) => tracing::debug!(%error, "cannot hold the connection"),
    }
    Ok(proxy)
}

/// The options that are ssh's own.
fn options(args: Args) -> Vec<OsString> {
    let mut options: Vec<OsString> = Vec::new();
    let identities = args.identities.into_iter().map(PathBuf::into_os_string).collect();
    for (option, values) in [
        ("-o", args.options),
        ("-i", identities),
        ("-L", args.local_forwards),
        ("-R", args.remote_forwards),
        ("-D", args.dynamic_forwards),
        ("-W", args.stdio_forward.into_iter().collect()),
        ("-F", args.config_file.into_iter().collect()),
    ] {
        options.extend(values.into_iter().flat_map(|value| [option.into(), value]));
    }
    for (option, is_given) in [
        ("-A", args.agent),
        ("-N", args.no_command),
        ("-T", args.no_tty),
        ("-t", args.tty),
        ("-X", args.x11),
        ("-Y", args.x11_trusted),
        ("-C", args.compress),
        ("-n", args.no_stdin),
    ] {
        options.extend(is_given.then(|| option.into()));
    }
    options
}
