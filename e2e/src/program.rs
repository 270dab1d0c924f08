//! Programs of this machine that the lab runs, each with a deadline.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::failure::{Failure, While, ensure};

/// What a program left behind.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end and hands back its output; it is ended at the deadline.
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
    deadline: Duration,
) -> Result<Outcome, Failure> {
    // coreutils' timeout ends the whole group of the program, by itself and in time.
    let output = Command::new("timeout")
        .arg("--kill-after=5")
        .arg(deadline.as_secs().max(1).to_string())
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .doing(|| format!("cannot run {program}"))?;
    let code = output.status.code().unwrap_or(-1);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(code != 124, "{program} did not end within {deadline:?}\n{stdout}{stderr}");
    Ok(Outcome { code, stdout, stderr })
}

/// Runs a program that has to succeed.
pub(crate) fn run_ok<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
    deadline: Duration,
) -> Result<String, Failure> {
    let Outcome { code, stdout, stderr } = run(program, arguments, deadline)?;
    ensure!(code == 0, "{program} ended with {code}\n{stdout}{stderr}");
    Ok(stdout)
}

/// Where a program is: a path, or a name looked up in PATH.
pub(crate) fn find(program: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}
