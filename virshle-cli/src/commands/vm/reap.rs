//! `v vm reap`: removes a machine when the command that it belongs to has ended, however it did.
//!
//! The command holds the other end of its standard input: that ends with it, also if it is killed.

use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::process::{Child, ChildStdin, Command, Stdio};

use virshle_core::{Force, Selection, Selector};

use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// What is printed once this process no longer ends with the terminal's others.
const READY: &[u8] = b"ready\n";

pub(crate) fn run(_: &Args, context: &Context) -> Result<(), CliError> {
    // Ctrl-C is for the command, and so is the end of the terminal.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "it leads a session already");
    }
    let ready = stdout().write_all(READY).and_then(|()| stdout().flush());
    ready.map_err(|source| CliError::Output { source })?;
    let mut named = Vec::new();
    for line in BufReader::new(stdin()).lines() {
        // What can't be read any more has ended.
        let Ok(line) = line else { break };
        named.push(Selector::Uuid(line));
    }
    let node = context.node()?;
    for selector in named {
        let mut selection = Selection::default();
        selection.named.push(selector);
        // One that is gone was removed by the command itself.
        let Ok(vms) = node.select(&selection) else { continue };
        for vm in vms {
            vm.remove(Force::Yes)?;
        }
    }
    Ok(())
}

/// A process that removes a machine when this one has ended.
#[derive(Debug)]
pub(crate) struct Reaper {
    child: Child,
    input: ChildStdin,
}

impl Reaper {
    /// Starts it, and waits until it no longer ends by what this process may end by.
    pub(crate) fn start(context: &Context) -> Result<Self, CliError> {
        let own = context.own_command()?;
        let failed = |source| CliError::Reaper { source };
        let (program, arguments) = own.split_first().ok_or(CliError::NoneNamed)?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(["--quiet", "vm", "reap"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut ready = Vec::new();
        let read = output.map(|output| output.take(READY.len() as u64).read_to_end(&mut ready));
        match (input, read) {
            (Some(input), Some(Ok(_))) if ready == READY => Ok(Self { child, input }),
            (_, Some(Err(source))) => Err(failed(source)),
            _ => Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Has it remove this machine.
    pub(crate) fn watch(&mut self, vm: &virshle_core::Vm) -> Result<(), CliError> {
        let line = format!("{}\n", vm.uuid());
        self.input.write_all(line.as_bytes()).map_err(|source| CliError::Reaper { source })
    }

    /// Ends it, once it has removed what is still there.
    pub(crate) fn end(self) {
        let Self { mut child, input } = self;
        drop(input);
        // It reports what failed itself.
        drop(child.wait());
    }
}
