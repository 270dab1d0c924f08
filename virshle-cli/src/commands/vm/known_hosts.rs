//! `v vm known-hosts`: prints and records a machine's host keys, for ssh.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;
use virshle_core::{HostKey, HostKeyVerdict, Vm};

use super::proxy::{client, find};
use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Machine id, name, uuid or unique uuid prefix, also as vm/MACHINE or vm+MACHINE
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// Print them as the keys of HOST [default: MACHINE]
    #[arg(long = "as", value_name = "HOST")]
    host: Option<String>,
    /// Record this key if none is recorded yet
    #[arg(long, value_name = "KIND:BASE64")]
    offered: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let vm = find(&args.machine, context)?;
    let host = args.host.as_deref().unwrap_or(&args.machine);
    let offered = args.offered.as_deref().and_then(|offered| offered.split_once(':'));
    if let Some(key) = offered.and_then(|(kind, base64)| HostKey::new(kind, base64)) {
        if is_taken(&vm, &key, context)? {
            vm.record_host_key(&key)?;
        }
    }
    context.output.text(&vm.host_keys(host, None)?);
    Ok(())
}

/// Whether `key` is the machine's, by what is known of it or by what a person says.
fn is_taken(vm: &Vm, key: &HostKey, context: &Context) -> Result<bool, CliError> {
    let (name, file) = (vm.name(), vm.known_hosts());
    let verdict = vm.judge_host_key(key, client().unwrap_or(0))?;
    let (address, seed_differs) = match verdict {
        HostKeyVerdict::Known | HostKeyVerdict::Proven => return Ok(true),
        HostKeyVerdict::Unproven { address, seed_differs } => (address, seed_differs),
        // ssh itself says what that may mean; but not where the keys of a machine are.
        _ => {
            let file = file.display();
            context.report.warn(&format!(
                "machine {name} has shown another host key before; if its guest was reinstalled, \
                 remove {file}"
            ));
            return Ok(false);
        }
    };
    let address = address.unwrap_or_else(|| "an unknown address".into());
    let fingerprint = key.fingerprint().unwrap_or_default();
    let what = if seed_differs {
        format!(
            "machine {name} shows another host key than its seed gave it, at {address}: its image reads \
             no seed, or another host answers there"
        )
    } else {
        format!(
            "machine {name} has no host key yet, and nothing but the network says that it is the \
                 one which answers at {address}"
        )
    };
    let kind = key.kind.trim_start_matches("ssh-").to_ascii_uppercase();
    if let Some(answer) =
        ask(&what, &format!("{kind} key fingerprint is {fingerprint}"), &fingerprint)
    {
        return Ok(answer);
    }
    if seed_differs {
        let file = file.display();
        context.report.warn(&format!(
            "{what}. It is refused: look at it on a terminal, or remove {file} to take the next one"
        ));
    } else {
        context.report.warn(&format!("{what}. Took its key {fingerprint}"));
    }
    Ok(!seed_differs)
}

/// Asks the person at the terminal, as ssh does; none if there is nobody.
fn ask(what: &str, key: &str, fingerprint: &str) -> Option<bool> {
    let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
    // Who is in the background would be stopped by the question.
    if tcgetpgrp(&terminal).ok()? != getpgrp() {
        return None;
    }
    converse(BufReader::new(&terminal), &terminal, what, key, fingerprint).ok()
}

/// The conversation: `yes`, `no`, or the fingerprint that is expected.
fn converse(
    mut from: impl BufRead,
    mut to: impl Write,
    what: &str,
    key: &str,
    fingerprint: &str,
) -> io::Result<bool> {
    let question = "Are you sure you want to continue connecting (yes/no/[fingerprint])? ";
    write!(to, "{}.\n{}.\n{question}", escape(what), escape(key))?;
    loop {
        to.flush()?;
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        match line.trim() {
            answer if answer.eq_ignore_ascii_case("yes") => return Ok(true),
            answer if answer.eq_ignore_ascii_case("no") => return Ok(false),
            answer if !answer.is_empty() && answer == fingerprint => return Ok(true),
            _ => write!(to, "Please type 'yes', 'no' or the fingerprint: ")?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_answered_as_sshs() {
        let answer = |typed: &str| {
            let mut shown = Vec::new();
            let answer = converse(typed.as_bytes(), &mut shown, "what", "key", "SHA256:x").unwrap();
            (answer, String::from_utf8(shown).unwrap())
        };
        assert!(answer("yes\n").0 && answer("YES\n").0 && answer("\nhm\nSHA256:x\n").0);
        for no in ["no\n", "", "\n", "SHA256:y\n", "y\n"] {
            assert!(!answer(no).0, "{no:?}");
        }
        let (_, shown) = answer("no\n");
        assert!(shown.starts_with("what.\nkey.\nAre you sure"), "{shown}");
    }
}
