//! A session in the guest, by the system's `ssh`.

pub(crate) mod contact;
pub(crate) mod known_hosts;
pub(crate) mod quote;

use std::ffi::OsString;
use std::process::Command;

use crate::guest::error::GuestError;
use crate::guest::ssh::quote::{QuoteError, quote, quote_program};
use crate::guest::stream::must_be_reachable;
use crate::machine::vm::Vm;
use crate::provision::node_key::identity;

/// The program.
const SSH: &str = "ssh";
/// The option for the command that knows the machine's keys.
const KEYS: &str = "KnownHostsCommand=";

/// A session in the guest: what is to be run there, as whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SshRequest {
    proxy: Vec<OsString>,
    known_hosts: Option<Vec<OsString>>,
    user: Option<String>,
    options: Vec<OsString>,
    command: Vec<OsString>,
}

impl SshRequest {
    /// A session whose connection is made by the command `proxy`, to which the machine's uuid is
    /// added. It hands the connection over, with [`GuestStream::hand_over`].
    ///
    /// [`GuestStream::hand_over`]: crate::guest::stream::GuestStream::hand_over
    pub fn new(proxy: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            proxy: proxy.into_iter().map(Into::into).collect(),
            known_hosts: None,
            user: None,
            options: Vec::new(),
            command: Vec::new(),
        }
    }

    /// With the command that knows the keys of the machine's ssh server, and remembers the first one,
    /// to which options and the machine's uuid are added. Without it ssh keeps the
    /// keys itself, and warns of the first one that it does.
    pub fn known_hosts(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.known_hosts = Some(command.into_iter().map(Into::into).collect());
        self
    }

    /// As this user, instead of the machine's or ssh's own choice.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// With this argument for ssh itself.
    pub fn option(mut self, option: impl Into<OsString>) -> Self {
        self.options.push(option.into());
        self
    }

    /// Running this instead of a shell. As ever with ssh, the guest's shell gets the arguments
    /// joined by blanks.
    pub fn command(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }
}

impl Vm {
    /// The user to be in the guest when none is named, if the machine's provisioning made one.
    pub fn ssh_user(&self) -> Option<&str> {
        self.definition().ssh_user.as_deref()
    }

    /// The name by which ssh knows the machine: never another one's.
    pub fn host_key_alias(&self) -> String {
        known_hosts::alias(self.definition().uuid)
    }

    /// The command that is the session: to be run, or to become.
    ///
    /// # Errors
    ///
    /// [`MachineError::WrongState`](crate::MachineError::WrongState) if the machine doesn't run,
    /// [`QuoteError`] if a path can't be quoted for ssh.
    pub fn ssh(&self, request: &SshRequest) -> Result<Command, GuestError> {
        session(self, request)
    }
}

fn session(vm: &Vm, request: &SshRequest) -> Result<Command, GuestError> {
    must_be_reachable(vm)?;
    let uuid = vm.definition().uuid.to_string();
    let option = |option: &str, arguments: &[OsString], end: &str| {
        let mut line = OsString::from(option);
        for (at, argument) in arguments.iter().enumerate() {
            let is_program = at == 0 && option == KEYS;
            line.push(if is_program { quote_program(argument)? } else { quote(argument)? });
            line.push(" ");
        }
        line.push(end);
        Ok::<_, QuoteError>(line)
    };
    let proxy = option("ProxyCommand=", &request.proxy, &uuid)?;
    let host_keys: [OsString; 3] = match &request.known_hosts {
        // The command remembers the first key, so nothing is new to ssh.
        Some(arguments) => [
            option(KEYS, arguments, &format!("--as %H --offered %t:%K {uuid}"))?,
            "UserKnownHostsFile=/dev/null".into(),
            "StrictHostKeyChecking=yes".into(),
        ],
        None => {
            let mut file = OsString::from("UserKnownHostsFile=");
            file.push(quote(vm.known_hosts().as_os_str())?);
            ["KnownHostsCommand=none".into(), file, "StrictHostKeyChecking=accept-new".into()]
        }
    };

    let mut command = Command::new(SSH);
    // ssh runs its ProxyCommand by this one; that of a service's account may be none (nologin).
    command.env("SHELL", "/bin/sh");
    // The caller's come first: of two settings ssh takes the first.
    command.args(&request.options);
    for option in [
        proxy,
        "ProxyUseFdpass=yes".into(),
        // A user's own may have the host in a file's name, and be a connection of another machine that
        // had this one's name.
        "ControlPath=none".into(),
        format!("HostKeyAlias={}", vm.host_key_alias()).into(),
        "HashKnownHosts=no".into(),
        "CheckHostIP=no".into(),
    ]
    .into_iter()
    .chain(host_keys)
    {
        command.arg("-o").arg(option);
    }
    if let Some(identity) = identity(vm.node()) {
        command.arg("-i").arg(identity);
    }
    if let Some(user) = request.user.as_deref().or_else(|| vm.ssh_user()) {
        command.arg("-l").arg(user);
    }
    // Behind "--" nothing is an option any more, also not what is run in the guest.
    command.arg("--").arg(format!("vm/{}", vm.name())).args(&request.command);
    Ok(command)
}
