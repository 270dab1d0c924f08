//! `v completions`: prints what makes a shell ask `v` for completions, and answers it.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Subcommand, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::env::Shells;

use super::vm;
use crate::cli::Cli;
use crate::context::Context;
use crate::error::CliError;
use crate::exit_code;

/// The environment variable by which a shell asks for completions.
const VARIABLE: &str = "VIRSHLE_COMPLETE";

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print completions for this shell
    shell: Shell,
}

/// The shells that can be completed in.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Zsh => "zsh",
        }
    }

    /// What completes `ssh vm/NAME`, beside what the shell completes already.
    fn ssh(self) -> &'static str {
        match self {
            Self::Bash => include_str!("completions/ssh.bash"),
            Self::Fish => include_str!("completions/ssh.fish"),
            Self::Zsh => include_str!("completions/ssh.zsh"),
            Self::Elvish | Self::Powershell => "",
        }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let written = shells.completer(args.shell.name()).map_or(Ok(()), |shell| {
        // Both names of the program are completed. Each is asked by its name: the path of this file
        // may be that of a build, or of a version that is gone after an update.
        for name in ["v", "virshle"] {
            shell.write_registration(VARIABLE, name, name, name, &mut script)?;
        }
        script.write_all(args.shell.ssh().as_bytes())
    });
    written.map_err(|source| CliError::Output { source })?;
    context.output.bytes(&script);
    Ok(())
}

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
