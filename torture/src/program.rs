//! Running a program to its end, with a deadline.

use std::fmt;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::stepper::Trace;
use virshle_testkit::{Failure, While, ensure};

/// How a program ended, and what it said.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Its exit code; none if a signal ended it.
    pub(crate) exit: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// It had to be killed, as it took too long.
    pub(crate) late: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl From<&Trace> for Outcome {
    fn from(trace: &Trace) -> Self {
        Self {
            exit: trace.exit,
            signal: trace.signal,
            late: trace.late,
            stdout: trace.stdout.clone(),
            stderr: trace.stderr.clone(),
            took: trace.took,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.took.as_millis();
        match (self.exit, self.signal) {
            _ if self.late => writeln!(out, "did not end within {millis} ms")?,
            (Some(code), _) => writeln!(out, "exit {code} after {millis} ms")?,
            (_, signal) => writeln!(out, "signal {signal:?} after {millis} ms")?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in text.lines() {
                writeln!(out, "  {name}: {line}")?;
            }
        }
        Ok(())
    }
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: File,
    err: File,
    started: Instant,
}

/// Starts `command`; its output is kept in files without a name, as a pipe could fill up.
pub(crate) fn start(command: &mut Command) -> Result<Running, Failure> {
    let kept = || tempfile::tempfile().doing(|| "cannot keep a program's output".into());
    let (out, err) = (kept()?, kept()?);
    let copy = |file: &File| file.try_clone().doing(|| "cannot keep a program's output".into());
    let child = command
        .stdin(Stdio::null())
        .stdout(copy(&out)?)
        .stderr(copy(&err)?)
        .spawn()
        .doing(|| format!("cannot start {command:?}"))?;
    Ok(Running { child, out, err, started: Instant::now() })
}

/// Runs `command`, and kills it after `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Outcome, Failure> {
    start(command)?.finish(limit)
}

/// Runs a program of the host that has to succeed, and gives what it wrote.
pub(crate) fn tool(command: &mut Command) -> Result<String, Failure> {
    let outcome = run(command, Duration::from_secs(30))?;
    ensure!(outcome.exit == Some(0), "{command:?}: {outcome}");
    Ok(outcome.stdout)
}

impl Running {
    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        // It fails only if it has ended already.
        drop(self.child.kill());
    }

    /// Waits for its end, and kills it after `limit`.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<Outcome, Failure> {
        let late = !self.wait(limit)?;
        if late {
            self.kill();
        }
        let status = self.child.wait().doing(|| "cannot wait for a program".into())?;
        Ok(Outcome {
            exit: status.code(),
            signal: status.signal(),
            late,
            stdout: content(&self.out)?,
            stderr: content(&self.err)?,
            took: self.started.elapsed(),
        })
    }

    fn wait(&self, limit: Duration) -> Result<bool, Failure> {
        let deadline = self.started + limit;
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())
            .doing(|| "cannot hold a program".into())?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(&process, PollFlags::IN)];
            match poll(&mut watched, Timespec::try_from(left).ok().as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Failure::new(format!("cannot wait: {errno}"))),
            }
        }
    }
}

fn content(file: &File) -> Result<String, Failure> {
    use std::os::unix::fs::FileExt;
    let failed = || "cannot read a program's output".to_owned();
    let size = file.metadata().doing(failed)?.len();
    let mut bytes = vec![0; usize::try_from(size).doing(failed)?];
    file.read_exact_at(&mut bytes, 0).doing(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
