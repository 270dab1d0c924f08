//! The program nft, run and read.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::Value;

use crate::managed::error::ManagedError;
use crate::passt::finish;

/// How long nft may take. On an idle host it takes some milliseconds.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The most lines of its output that an error carries.
const LAST_LINES: usize = 4;

/// Makes sure that `program` is an nft that runs, and returns its version.
///
/// # Errors
///
/// [`ManagedError::Run`], [`ManagedError::Failed`].
pub fn check_nft(program: &Path) -> Result<String, ManagedError> {
    let output = output(program, &["--version"])?;
    Ok(output.lines().next().unwrap_or_default().trim().to_owned())
}

/// Applies a script as one transaction: all of it, or nothing.
pub(crate) fn apply(program: &Path, script: &str) -> Result<(), ManagedError> {
    tracing::debug!(script, "nft -f -");
    let failed = |source| ManagedError::Run { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.args(["-f", "-"]).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.as_bytes()));
    let errors = child.stderr.take().map(|errors| File::from(OwnedFd::from(errors)));
    wait(program, child, errors)?;
    // One that fails may not have read all of it: then that is the error.
    written.map_err(failed)
}

/// What `nft --json` prints for `arguments`; none if there is no such thing.
pub(crate) fn list(program: &Path, arguments: &[&str]) -> Result<Option<Vec<Value>>, ManagedError> {
    let text = match output(program, &[&["--json"], arguments].concat()) {
        Err(ManagedError::Failed { output, .. }) if output.contains("No such file") => {
            return Ok(None);
        }
        other => other?,
    };
    let failed = |source| ManagedError::Malformed { program: program.to_owned(), source };
    let value: Value = serde_json::from_str(&text).map_err(failed)?;
    let all = value.get("nftables").and_then(Value::as_array).cloned();
    Ok(Some(all.unwrap_or_default()))
}

/// What a program prints.
pub(crate) fn output(program: &Path, arguments: &[&str]) -> Result<String, ManagedError> {
    let failed = |source| ManagedError::Run { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null());
    // Errors as well: there is one pipe that ends.
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    command.stdout(write.try_clone().map_err(failed)?).stderr(write);
    let child = command.spawn().map_err(failed)?;
    drop(command);
    wait(program, child, Some(File::from(read)))
}

fn wait(program: &Path, child: Child, output: Option<File>) -> Result<String, ManagedError> {
    let failed = |source| ManagedError::Run { program: program.to_owned(), source };
    let Some(finished) = finish(child, output, TIMEOUT).map_err(failed)? else {
        return Err(ManagedError::Silent { program: program.to_owned(), timeout: TIMEOUT });
    };
    if finished.status.success() {
        return Ok(finished.output);
    }
    let lines = finished.output.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.take(LAST_LINES).collect();
    let output = match lines[..] {
        [] => finished.status.to_string(),
        _ => lines.join("; "),
    };
    Err(ManagedError::Failed { program: program.to_owned(), output })
}
