//! Answers a shell that asks for completions.

use std::process::ExitCode;

use clap::{CommandFactory, Subcommand};
use clap_complete::CompleteEnv;

use crate::cli::Cli;
use crate::commands::completions::VARIABLE;
use crate::commands::vm;
use crate::exit_code;

/// Answers a shell that asks for completions, if this process was started for that.
pub(crate) fn answer() -> Option<ExitCode> {
    // For every other process this look is all.
    std::env::var_os(VARIABLE)?;
    let directory = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(command_line)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), directory.as_deref());
    match answered {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        // Whatever is wrong, a message would appear in the middle of what is typed.
        Err(_) => Some(ExitCode::from(exit_code::FAILED)),
    }
}

/// The command line, in which the verbs of `v vm` need no `vm`.
fn command_line() -> clap::Command {
    let verbs = vm::Command::augment_subcommands(clap::Command::new("vm"));
    let root = Cli::command();
    let verbs = verbs.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    verbs.fold(root, clap::Command::subcommand)
}
