//! A connection to a manager: calls that are sent, and answers that are waited for.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::error::{MalformedMessage, SystemdError};
use crate::message::{FIXED, Message, MessageKind, Method, length};
use crate::property::Property;
use crate::unit_name::UnitName;
use crate::wire::Writer;

/// The longest answer of the authentication, in bytes.
const MAX_LINES: usize = 4 << 10;

/// How long it takes to see what has come already.
const LOOK: Duration = Duration::from_millis(1);

/// The object that is called, and its name on a bus.
const MANAGER: Method = Method {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
    signature: "",
};

/// What listens at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its own socket: there is no one between.
    Private,
    /// A bus, which passes messages on, and wants to be greeted.
    Bus,
}

/// A connection to a manager.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    timeout: Duration,
    kind: Kind,
    authenticated: bool,
    serial: u32,
    received: Vec<u8>,
}

/// A call that was sent, and whose answer was not read yet.
#[derive(Debug)]
#[must_use = "`Connection::wait` reads its answer"]
pub struct Call {
    what: &'static str,
    serial: u32,
}

impl Connection {
    pub(crate) fn open(
        sockets: &[(PathBuf, Kind)],
        timeout: Duration,
    ) -> Result<Self, SystemdError> {
        let mut failure = None;
        for (socket, kind) in sockets {
            match Self::open_one(socket, *kind, timeout) {
                Ok(connection) => return Ok(connection),
                Err(source) => {
                    tracing::debug!(socket = %socket.display(), error = %source, "no manager");
                    failure.get_or_insert((socket.clone(), source));
                }
            }
        }
        let (socket, source) =
            failure.unwrap_or_else(|| (PathBuf::new(), ErrorKind::NotFound.into()));
        Err(SystemdError::Connect { socket, source })
    }

    fn open_one(socket: &Path, kind: Kind, timeout: Duration) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // It holds for connect(2) as well, which waits while more are waiting than are accepted.
        set_socket_timeout(&fd, Timeout::Send, Some(timeout.max(Duration::from_millis(1))))?;
        connect(&fd, &SocketAddrUnix::new(socket)?)?;
        let mut connection = Self {
            stream: fd.into(),
            timeout,
            kind,
            authenticated: false,
            serial: 0,
            received: Vec::new(),
        };
        // The other end knows who this is from the socket.
        let uid = rustix::process::geteuid().as_raw().to_string();
        let uid: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        connection.stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\nBEGIN\r\n").as_bytes())?;
        Ok(connection)
    }

    /// Asks for a unit that lives until its processes have ended, or until the host goes down. Returns
    /// before there is an answer. A scope takes the processes of its `PIDs`.
    ///
    /// # Errors
    ///
    /// [`SystemdError::Broken`] if it can't be sent.
    pub fn start_transient_unit(
        &mut self,
        name: &UnitName,
        properties: &[Property],
    ) -> Result<Call, SystemdError> {
        let method =
            Method { member: "StartTransientUnit", signature: "ssa(sv)a(sa(sv))", ..MANAGER };
        self.call("StartTransientUnit", method, |writer| {
            writer.text(name.as_str());
            // A unit of that name is not replaced.
            writer.text("fail");
            writer.array(8, |writer| properties.iter().for_each(|property| property.write(writer)));
            writer.array(8, |_| ());
        })
    }

    /// Asks for the start of a unit that has a file. Returns before there is an answer.
    ///
    /// # Errors
    ///
    /// As [`start_transient_unit`](Self::start_transient_unit).
    pub fn start_unit(&mut self, name: &UnitName) -> Result<Call, SystemdError> {
        let method = Method { member: "StartUnit", signature: "ss", ..MANAGER };
        self.call("StartUnit", method, |writer| {
            writer.text(name.as_str());
            writer.text("replace");
        })
    }

    /// Asks for other settings of a unit, for as long as it lives. Returns before there is an answer.
    /// All are set, or none.
    ///
    /// # Errors
    ///
    /// As [`start_transient_unit`](Self::start_transient_unit).
    pub fn set_unit_properties(
        &mut self,
        name: &str,
        properties: &[Property],
    ) -> Result<Call, SystemdError> {
        let method = Method { member: "SetUnitProperties", signature: "sba(sv)", ..MANAGER };
        self.call("SetUnitProperties", method, |writer| {
            writer.text(name);
            // Until the unit goes: nothing is written to /etc.
            writer.number32(1);
            writer.array(8, |writer| properties.iter().for_each(|property| property.write(writer)));
        })
    }

    /// Asks whether the unit has a file, and is enabled: `enabled`, `static`, … is the answer's text.
    ///
    /// # Errors
    ///
    /// As [`start_transient_unit`](Self::start_transient_unit).
    pub fn unit_file_state(&mut self, name: &str) -> Result<Call, SystemdError> {
        let method = Method { member: "GetUnitFileState", signature: "s", ..MANAGER };
        self.call("GetUnitFileState", method, |writer| writer.text(name))
    }

    /// Asks for a property of the manager that is a text, such as `SystemState` or `Version`. Its value
    /// is the answer's text.
    ///
    /// # Errors
    ///
    /// As [`start_transient_unit`](Self::start_transient_unit).
    pub fn get_property(&mut self, name: &str) -> Result<Call, SystemdError> {
        let method = Method {
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            signature: "ss",
            ..MANAGER
        };
        self.call("Get", method, |writer| {
            writer.text(MANAGER.interface);
            writer.text(name);
        })
    }

    /// Waits for the answer to `call`: the text that it begins with, such as a job's path. One that has
    /// come already is read whatever the `timeout`.
    ///
    /// # Errors
    ///
    /// [`SystemdError::Silent`] when `timeout` is over, [`SystemdError::Refused`] with the manager's own
    /// words, [`SystemdError::Broken`] and [`SystemdError::Malformed`] if this is no manager.
    #[expect(clippy::needless_pass_by_value, reason = "a call has one answer")]
    pub fn wait(&mut self, call: Call, timeout: Duration) -> Result<Option<String>, SystemdError> {
        self.timeout = timeout;
        let end = Instant::now().checked_add(timeout.max(LOOK));
        let what = call.what;
        loop {
            let message = self.next(what, end)?;
            match message.kind {
                MessageKind::Answer { to } if to == call.serial => return Ok(message.text),
                MessageKind::Error { to, name } if to == call.serial => {
                    let message = message.text.unwrap_or_default();
                    return Err(SystemdError::Refused { what, name, message });
                }
                // Signals, and answers that nobody waited for.
                _ => {}
            }
        }
    }

    fn call(
        &mut self,
        what: &'static str,
        method: Method,
        fill: impl FnOnce(&mut Writer),
    ) -> Result<Call, SystemdError> {
        self.authenticate(what, Instant::now().checked_add(self.timeout))?;
        let serial = self.next_serial();
        self.stream
            .write_all(&method.message(serial, fill))
            .map_err(|source| self.failed(what, source))?;
        Ok(Call { what, serial })
    }

    fn next_serial(&mut self) -> u32 {
        // It is never 0.
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        self.serial
    }

    /// Waits until the other end has let this in. A message that comes with the authentication lies in
    /// systemd's buffer until another one comes (252): it is sent afterwards.
    fn authenticate(
        &mut self,
        what: &'static str,
        end: Option<Instant>,
    ) -> Result<(), SystemdError> {
        let malformed = |source| SystemdError::Malformed { what, source };
        if self.authenticated {
            return Ok(());
        }
        let end_of_line = loop {
            match self.received.windows(2).position(|pair| pair == b"\r\n") {
                Some(at) => break at + 2,
                None if self.received.len() > MAX_LINES => {
                    return Err(malformed(MalformedMessage::TooLong));
                }
                None => self.receive(what, end)?,
            }
        };
        if !self.received.starts_with(b"OK ") {
            return Err(malformed(MalformedMessage::Authentication));
        }
        self.received.drain(..end_of_line);
        self.authenticated = true;
        if self.kind == Kind::Bus {
            let hello = Method {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member: "Hello",
                signature: "",
            };
            let serial = self.next_serial();
            self.stream
                .write_all(&hello.message(serial, |_| ()))
                .map_err(|source| self.failed(what, source))?;
        }
        Ok(())
    }

    /// The next message that comes.
    fn next(&mut self, what: &'static str, end: Option<Instant>) -> Result<Message, SystemdError> {
        let malformed = |source| SystemdError::Malformed { what, source };
        loop {
            if self.received.len() >= FIXED {
                let length = length(&self.received).map_err(malformed)?;
                if self.received.len() >= length {
                    let message = Message::parse(&self.received).map_err(malformed)?;
                    self.received.drain(..length);
                    return Ok(message);
                }
            }
            self.receive(what, end)?;
        }
    }

    fn receive(&mut self, what: &'static str, end: Option<Instant>) -> Result<(), SystemdError> {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(SystemdError::Silent { what, timeout: self.timeout });
        }
        let mut chunk = [0; 4096];
        let read = set_socket_timeout(&self.stream, Timeout::Recv, left)
            .map_err(io::Error::from)
            .and_then(|()| self.stream.read(&mut chunk));
        match read {
            Ok(0) => Err(self.failed(what, ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                self.received.extend_from_slice(chunk.get(..read).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.failed(what, error)),
        }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> SystemdError {
        match source.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                SystemdError::Silent { what, timeout: self.timeout }
            }
            _ => SystemdError::Broken { what, source },
        }
    }
}
