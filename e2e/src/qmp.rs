//! QEMU's control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Failure, While, ensure};

/// A connection on which commands are accepted.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects as soon as QEMU listens.
    pub(crate) fn connect(
        socket: &Path,
        qemu: &mut Child,
        deadline: Duration,
    ) -> Result<Self, Failure> {
        let end = Instant::now() + deadline;
        // QEMU does not report that it listens; it takes a few milliseconds.
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(socket) {
                break stream;
            }
            ensure!(Instant::now() < end, "{} did not appear", socket.display());
            if let Ok(Some(status)) = qemu.try_wait() {
                return Err(Failure::new(format!("QEMU ended with {status}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.message(deadline)?;
        qmp.ask("qmp_capabilities", &json!({}), deadline)?;
        Ok(qmp)
    }

    /// Sends a command and hands back its answer.
    pub(crate) fn ask(
        &mut self,
        command: &str,
        arguments: &Value,
        deadline: Duration,
    ) -> Result<Value, Failure> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.stream.get_mut(), "{request}")
            .doing(|| format!("cannot send {command} to QEMU"))?;
        loop {
            let mut answer = self.message(deadline).doing(|| format!("no answer to {command}"))?;
            ensure!(answer.get("error").is_none(), "QEMU refused {command}: {answer}");
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Waits until a migration, in or out, has ended well.
    pub(crate) fn wait_for_migration(&mut self, deadline: Duration) -> Result<(), Failure> {
        let end = Instant::now() + deadline;
        loop {
            let answer = self.ask("query-migrate", &json!({}), deadline)?;
            let status = answer.get("status").and_then(Value::as_str).unwrap_or("none");
            match status {
                "completed" => return Ok(()),
                "failed" | "cancelled" => {
                    return Err(Failure::new(format!("QEMU's state: {answer}")));
                }
                _ => {}
            }
            ensure!(Instant::now() < end, "QEMU's state is {status} after {deadline:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads one message.
    fn message(&mut self, deadline: Duration) -> Result<Value, Failure> {
        self.stream
            .get_ref()
            .set_read_timeout(Some(deadline))
            .doing(|| "cannot set a deadline for QEMU".to_owned())?;
        let mut line = String::new();
        let count =
            self.stream.read_line(&mut line).doing(|| "cannot read from QEMU".to_owned())?;
        ensure!(count > 0, "QEMU closed its control socket");
        serde_json::from_str(&line).doing(|| format!("QEMU answered {line}"))
    }
}
