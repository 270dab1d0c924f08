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
    steps::show(&installed, context)?;
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    if let Some(own) = home_of(rustix::process::geteuid().as_raw(), &users) {
        if fs::canonicalize(&own).ok() != fs::canonicalize(&home).ok() {
            let (own, home) = (own.display(), home.display());
            context.output.note(&format!(
                "ssh reads {own}/.ssh/config, whatever HOME is; with this one: ssh -F {home}/.ssh/config"
            ));
        }
    }
    Ok(())
}

/// The home of the user with that number in `users`, the text of passwd(5).
fn home_of(uid: u32, users: &str) -> Option<PathBuf> {
    let uid = uid.to_string();
    let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = users.find(|fields| fields.get(2) == Some(&uid.as_str()))?;
    fields.get(5).filter(|home| home.starts_with('/')).map(PathBuf::from)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_that_ssh_takes_is_that_of_the_users_list() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nodd\na:x:1000:1000::/home/a:/bin/sh\nb:x:7:7:::\n";
        assert_eq!(home_of(0, users), Some("/root".into()));
        assert_eq!(home_of(1000, users), Some("/home/a".into()));
        assert_eq!((home_of(7, users), home_of(8, users)), (None, None));
    }
}
