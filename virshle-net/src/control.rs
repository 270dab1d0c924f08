//! The control socket of `ovs-vswitchd`, by which `ovs-appctl` asks it things.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::NetError;
use crate::deadline::Deadline;
use crate::ovsdb::{Address, FrameError, Framer, Stream};

/// The longest answer that is taken: a trace is some kilobytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The most of a file with a process id that is read.
const MAX_PID_FILE: usize = 32;
/// Where Open vSwitch keeps its sockets if its database is elsewhere.
const RUN: &str = "/run/openvswitch";

/// A connection to the control socket of `ovs-vswitchd`.
///
/// Every call ends at the deadline that the connection was given. After an error other than
/// [`NetError::ControlRefused`] it is not to be used again.
///
/// # References
///
/// `ovs-vswitchd(8)`, "Runtime management commands"; `lib/unixctl.c` of Open vSwitch: JSON-RPC 1.0.
#[derive(Debug)]
#[doc(alias = "unixctl")]
#[doc(alias = "ovs-appctl")]
pub struct Control {
    socket: PathBuf,
    stream: Stream,
    framer: Framer,
    timeout: Duration,
    next_id: u64,
}

impl Control {
    /// Connects to the `ovs-vswitchd` whose database is at `ovsdb`: its control socket is beside the
    /// database's. `timeout` is for this, and for each call.
    ///
    /// # Errors
    ///
    /// [`NetError::Control`].
    pub fn connect(ovsdb: &Address, timeout: Duration) -> Result<Self, NetError> {
        let directory = match ovsdb {
            Address::Unix(path) => path.parent().unwrap_or(Path::new("/")),
            _ => Path::new(RUN),
        };
        let socket = socket_in(directory);
        let deadline = Deadline::after(timeout);
        let stream = Stream::connect(&Address::Unix(socket.clone()), deadline)
            .map_err(failed(&socket, "connect to"))?;
        Ok(Self { socket, stream, framer: Framer::new(MAX_ANSWER_BYTES), timeout, next_id: 0 })
    }

    /// Runs a command with these arguments, and returns what it prints.
    ///
    /// # Errors
    ///
    /// [`NetError::ControlRefused`] with its own words; [`NetError::Control`];
    /// [`NetError::ControlMalformed`].
    pub fn call(&mut self, command: &str, arguments: &[&str]) -> Result<String, NetError> {
        let deadline = Deadline::after(self.timeout);
        let id = self.next_id;
        self.next_id += 1;
        tracing::debug!(command, ?arguments, "control");
        let request = json!({"method": command, "params": arguments, "id": id}).to_string();
        self.stream.send(request.as_bytes(), deadline).map_err(failed(&self.socket, "send to"))?;
        let mut answer = loop {
            match self.receive(deadline)? {
                Json::Object(answer) if answer.get("id") == Some(&json!(id)) => break answer,
                // What no call waits for.
                Json::Object(_) => {}
                _ => return Err(self.malformed("an answer that is no object".into())),
            }
        };
        // A later version may send its answers as other JSON; a text is what all of them can.
        match (answer.remove("error"), answer.remove("result")) {
            (None | Some(Json::Null), Some(Json::String(text))) => Ok(text),
            (Some(Json::String(message)), _) => Err(NetError::ControlRefused {
                command: command.into(),
                message: message.trim().into(),
            }),
            _ => Err(self.malformed("an answer without a text".into())),
        }
    }

    fn receive(&mut self, deadline: Deadline) -> Result<Json, NetError> {
        let mut room = [0; 16 << 10];
        loop {
            match self.framer.next() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(FrameError::NotJson(reason)) => return Err(self.malformed(reason)),
                Err(FrameError::TooLong) => {
                    return Err(self.malformed(format!("more than {MAX_ANSWER_BYTES} bytes")));
                }
            }
            let received = self
                .stream
                .receive(&mut room, Some(deadline))
                .map_err(failed(&self.socket, "receive from"))?;
            if received == 0 {
                let closed = io::ErrorKind::UnexpectedEof.into();
                return Err(failed(&self.socket, "receive from")(closed));
            }
            self.framer.push(&room[..received]);
        }
    }

    fn malformed(&self, reason: String) -> NetError {
        NetError::ControlMalformed { socket: self.socket.clone(), reason }
    }
}

/// The control socket in that directory: it has the daemon's process id in its name, unless it was
/// started with another one.
fn socket_in(directory: &Path) -> PathBuf {
    let pid = fs::read(directory.join("ovs-vswitchd.pid")).ok();
    let pid = pid.filter(|text| text.len() <= MAX_PID_FILE);
    let pid: Option<u32> =
        pid.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
    let by_pid = pid.map(|pid| directory.join(format!("ovs-vswitchd.{pid}.ctl")));
    by_pid.filter(|path| path.exists()).unwrap_or_else(|| directory.join("ovs-vswitchd.ctl"))
}

fn failed(socket: &Path, action: &'static str) -> impl FnOnce(io::Error) -> NetError {
    let socket = socket.to_owned();
    move |source| NetError::Control { action, socket, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_named_by_the_daemons_process_id() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert_eq!(socket_in(directory.path()), at("ovs-vswitchd.ctl"));
        fs::write(at("ovs-vswitchd.pid"), "17\n").unwrap();
        // A file of an earlier run.
        assert_eq!(socket_in(directory.path()), at("ovs-vswitchd.ctl"));
        fs::write(at("ovs-vswitchd.17.ctl"), "").unwrap();
        assert_eq!(socket_in(directory.path()), at("ovs-vswitchd.17.ctl"));
        for odd in ["x", "", "-1", "99999999999999999999999999999999999999999"] {
            fs::write(at("ovs-vswitchd.pid"), odd).unwrap();
            assert_eq!(socket_in(directory.path()), at("ovs-vswitchd.ctl"), "{odd}");
        }
    }
}
