//! `v node ssh-config`: prints or installs the lines for ssh.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::Serialize;
use virshle_core::{FileError, InitMode, InitOutcome, SshConfig};

use super::steps;
use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Add the lines to your ssh configuration
    ///
    /// They are written to ~/.ssh/config.d/virshle, and ~/.ssh/config includes that file
    #[arg(long)]
    install: bool,
    /// Print what would be written, and write nothing
    #[arg(long, requires = "install")]
    dry_run: bool,
}

/// The lines, as JSON.
#[derive(Serialize)]
struct Printed<'a> {
    text: &'a str,
    /// Whether the caller's ssh configuration has them.
    installed: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let config = SshConfig::new(context.own_command()?)?;
    if !args.install && context.output.json {
        let text = String::from_utf8_lossy(config.text());
        return context
            .output
            .json(&Printed { text: &text, installed: missing_lines(context).is_none() });
    }
    if !args.install {
        context.output.bytes(config.text());
        return Ok(());
    }
    let home = home().ok_or(CliError::NoHome)?;
    let mode = if args.dry_run { InitMode::DryRun } else { InitMode::Apply };
    let installed = config.install(&home, mode).map_err(|error| unwritable(error, &home))?;
    steps::show(&installed, context)
}

/// The error of a configuration that another program makes, and nobody else may write.
fn unwritable(error: FileError, home: &Path) -> CliError {
    match error {
        FileError::Write { path, source } if is_read_only(&source) => {
            let file = home.join(".ssh/config");
            let is_config = path == file || fs::canonicalize(&file).is_ok_and(|real| real == path);
            CliError::SshConfig { path, source, is_config }
        }
        other => other.into(),
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// The lines, if they are missing in the caller's ssh configuration.
pub(super) fn missing_lines(context: &Context) -> Option<String> {
    let config = SshConfig::new(context.own_command().ok()?).ok()?;
    let steps = config.install(&home()?, InitMode::DryRun).ok()?;
    let is_missing = steps.iter().any(|step| step.outcome != InitOutcome::There);
    is_missing.then(|| String::from_utf8_lossy(config.text()).into_owned())
}

fn home() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.filter(|home| home.is_absolute())
}
