//! `v completions`: prints what makes a shell ask `v` for completions.

use std::io::Write;

use clap::ValueEnum;
use clap_complete::env::Shells;

use crate::context::Context;
use crate::error::CliError;

/// The environment variable by which a shell asks for completions.
pub(crate) const VARIABLE: &str = "VIRSHLE_COMPLETE";

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
