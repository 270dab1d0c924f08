//! What people type by habit: the verbs of `v vm` without `vm`, `v help`, `v version`.
//!
//! Nothing here runs for a command line that is valid as it stands: what costs every command time
//! would be paid by all for the sake of a few.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, FromArgMatches};

use crate::advice;
use crate::cli::Cli;

/// How often a command line is read anew: once for `v help`, once for a verb of `v vm`.
const READINGS: usize = 2;

/// Parses the arguments of a process, program name first.
///
/// # Errors
///
/// If they are invalid, also with what people leave out filled in: the error says what to type.
pub(crate) fn parse(
    arguments: Vec<OsString>,
    command_line: impl Fn() -> Command,
) -> Result<Cli, clap::Error> {
    let mut error = match try_parse(&arguments, &command_line) {
        Err(error) => error,
        valid => return valid,
    };
    let mut arguments = arguments;
    for _ in 0..READINGS {
        let Some(unknown) = unknown_command(&error) else { break };
        let Some(completed) = completed(&arguments, &unknown, &command_line()) else { break };
        match try_parse(&completed, &command_line) {
            // It is no verb of `v vm` either: the first error is about what was typed.
            Err(other) if other.get(ContextKind::InvalidSubcommand) == Some(&unknown) => break,
            Err(other) => {
                arguments = completed;
                error = other;
            }
            valid => return valid,
        }
    }
    advice::improve(&mut error, command_line);
    Err(error)
}

fn try_parse(
    arguments: &[OsString],
    command_line: &impl Fn() -> Command,
) -> Result<Cli, clap::Error> {
    let matches = command_line().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// The command that `v` itself does not have, if that is the error.
fn unknown_command(error: &clap::Error) -> Option<ContextValue> {
    let is_top = error.kind() == ErrorKind::InvalidSubcommand && advice::path(error).is_empty();
    error.get(ContextKind::InvalidSubcommand).filter(|_| is_top).cloned()
}

/// The arguments with what was left out: `vm` before a verb; `--help` for `help`.
fn completed(
    arguments: &[OsString],
    unknown: &ContextValue,
    command: &Command,
) -> Option<Vec<OsString>> {
    let ContextValue::String(unknown) = unknown else { return None };
    let at = place(arguments, unknown, command)?;
    let mut completed = arguments.to_vec();
    match unknown.as_str() {
        "help" => {
            completed.remove(at);
            completed.push("--help".into());
        }
        "version" => completed[at] = "--version".into(),
        _ => completed.insert(at, "vm".into()),
    }
    Some(completed)
}

/// Where the first command stands among the arguments: options before it may have values.
fn place(arguments: &[OsString], unknown: &str, command: &Command) -> Option<usize> {
    let takes_value = |argument: &OsString| {
        let long = argument.to_str().and_then(|argument| argument.strip_prefix("--"));
        let mut options =
            command.get_arguments().filter(|option| option.get_action().takes_values());
        long.is_some() && options.any(|option| option.get_long() == long)
    };
    let mut after = (1..arguments.len()).filter(|index| !takes_value(&arguments[index - 1]));
    after.find(|index| arguments[*index].to_string_lossy() == unknown)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<String, String> {
        let arguments = line.split(' ').map(OsString::from).collect();
        let cli = parse(arguments, Cli::command);
        cli.map(|cli| format!("{:?}", cli.command)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_verb_of_vm_needs_no_vm() {
        for (short, long) in [
            ("v ls", "v vm ls"),
            ("v ps", "v vm ls"),
            ("v list --state running", "v vm ls --state running"),
            ("v --root ls ls", "v --root ls vm ls"),
            ("v -q --config=ls --color never start web", "v -q --config=ls vm start web"),
            ("v delete web", "v vm rm web"),
            ("v shell web", "v vm ssh web"),
            ("v create -t xs -n 3", "v vm create -t xs -n 3"),
        ] {
            assert_eq!(parsed(short).unwrap(), parsed(long).unwrap(), "{short}");
        }
    }

    #[test]
    fn the_error_is_about_what_was_typed() {
        assert!(parsed("v nonsense").unwrap_err().contains("unrecognized subcommand 'nonsense'"));
        let error = parsed("v start --nonsense").unwrap_err();
        assert!(error.contains("Usage: v vm start"), "{error}");
    }

    #[test]
    fn help_is_help_in_every_place() {
        for line in ["v help vm ls", "v help ls"] {
            assert!(parsed(line).unwrap_err().contains("Usage: v vm ls"), "{line}");
        }
        assert!(parsed("v help").unwrap_err().contains("Exit codes"));
        assert!(parsed("v version").unwrap_err().starts_with("v "));
    }
}
