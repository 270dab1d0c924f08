//! Programs, run to their end.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::sample::timed;
use crate::sys;
use virshle_testkit::{Failure, While, ensure};

/// The argument that makes this program measure the memory of another one.
pub(crate) const PEAK_MEMORY: &str = "peak-memory-of";

/// Runs `command`, which has to succeed, and tells how long it took from spawn to exit.
pub(crate) fn time(command: &mut Command) -> Result<Duration, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    timed(|| {
        let status = command.status().doing(|| format!("{command:?}"))?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    })
}

/// Runs `command`, which has to succeed, and gives what it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output().doing(|| format!("{command:?}"))?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {message}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Tells whether there is a program of that name.
pub(crate) fn exists(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&paths).chain([Path::new("/usr/sbin").to_owned()]);
    directories.any(|directory| directory.join(name).is_file())
}

/// The peak memory of a command, in MiB.
///
/// A process inherits the peak of who starts it. So it is a fresh copy of this program that starts
/// the command: it is smaller than what it measures.
pub(crate) fn peak_memory(command: &Command) -> Result<f64, Failure> {
    let own = std::env::current_exe().doing(|| "cannot find this program".to_owned())?;
    let mut helper = Command::new(own);
    helper.arg(PEAK_MEMORY).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => helper.env(name, value),
            None => helper.env_remove(name),
        };
    }
    let output = output(&mut helper)?;
    let kib: f64 =
        output.trim().parse().doing(|| format!("peak memory of {command:?}: {output:?}"))?;
    Ok(kib / 1024.0)
}

/// What the fresh copy does.
pub(crate) fn measure_peak_memory(args: &[impl AsRef<OsStr>]) -> Result<i64, Failure> {
    let (program, args) = args.split_first().ok_or_else(|| Failure::new("no program"))?;
    let mut command = Command::new(program);
    time(command.args(args))?;
    Ok(sys::children_peak_kib())
}
