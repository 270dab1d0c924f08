//! systemd's manager as it doesn't behave on demand: a server of D-Bus that records what it is asked,
//! and answers, is silent, refuses or goes away.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::socket_server::SocketServer;

/// A call that a [`FakeSystemd`] took.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusCall {
    /// The method: `StartTransientUnit`.
    pub method: String,
    /// Its arguments. A structure is an array, a variant the value in it.
    pub arguments: Vec<Value>,
}

impl BusCall {
    /// The properties of a transient unit, by their names.
    pub fn properties(&self) -> Map<String, Value> {
        let pairs = self.arguments.get(2).and_then(Value::as_array);
        pairs
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.clone())))
            .collect()
    }

    /// The name of the unit that is meant.
    pub fn unit(&self) -> &str {
        self.arguments.first().and_then(Value::as_str).unwrap_or_default()
    }
}

/// What a [`FakeSystemd`] does with a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BusAct {
    /// Answers with the path of a job.
    Job,
    /// Answers with a property that is a text.
    Property(String),
    /// Answers with an error: its name and its message.
    Error(&'static str, &'static str),
    /// Sends these bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Says nothing.
    Silence,
    /// Closes the connection.
    Close,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<Vec<BusCall>>,
    more: Condvar,
}

/// A manager at a socket of its own, without a bus between. It ends when it is dropped.
#[derive(Debug)]
pub struct FakeSystemd {
    socket: PathBuf,
    shared: Arc<Shared>,
    _server: SocketServer,
    _directory: TempDir,
}

impl FakeSystemd {
    /// Starts a manager that asks `act` what to do on each call.
    ///
    /// # Errors
    ///
    /// If the temporary directory or the socket can't be created.
    pub fn start(act: impl Fn(&BusCall) -> BusAct + Clone + Send + 'static) -> io::Result<Self> {
        let directory = TempDir::with_prefix("fake-systemd-")?;
        let socket = directory.path().join("private");
        let shared = Arc::new(Shared::default());
        let inside = Arc::clone(&shared);
        // A client that goes away is an error: the connection's end.
        let server = SocketServer::start(&socket, move |stream| {
            drop(serve(stream, &|call| {
                let act = act(&call);
                inside.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
                inside.more.notify_all();
                act
            }));
        })?;
        Ok(Self { socket, shared, _server: server, _directory: directory })
    }

    /// Starts a manager that does all that it is asked to, or says so.
    ///
    /// # Errors
    ///
    /// As [`FakeSystemd::start`].
    pub fn willing() -> io::Result<Self> {
        Self::start(|call| match call.method.as_str() {
            "Get" => BusAct::Property("running".into()),
            _ => BusAct::Job,
        })
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<BusCall> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until there are `count` calls, and gives them; those that came if that takes too long.
    pub fn wait_for_calls(&self, count: usize) -> Vec<BusCall> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut calls = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        while calls.len() < count && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            calls = match self.shared.more.wait_timeout(calls, left) {
                Ok((calls, _)) => calls,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        calls.clone()
    }
}

fn serve(mut stream: UnixStream, act: &dyn Fn(BusCall) -> BusAct) -> io::Result<()> {
    let mut greeting = Vec::new();
    while !greeting.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        greeting.extend(byte);
    }
    stream.write_all(b"OK 0123456789abcdef0123456789abcdef\r\n")?;
    loop {
        let mut fixed = [0; 16];
        stream.read_exact(&mut fixed)?;
        let number = |at: usize| -> io::Result<u32> {
            let bytes: [u8; 4] = fixed[at..at + 4].try_into().map_err(io::Error::other)?;
            Ok(u32::from_le_bytes(bytes))
        };
        let (body, serial, fields) = (number(4)? as usize, number(8)?, number(12)? as usize);
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        stream.read_exact(&mut rest)?;
        let call = read_call(&rest, fields).ok_or(io::ErrorKind::InvalidData)?;
        let answer = act(call);
        let bytes = match answer {
            BusAct::Job => message(2, serial, None, "o", &text("/org/freedesktop/systemd1/job/7")),
            BusAct::Property(value) => {
                let mut body = vec![1, b's', 0, 0];
                body.extend(text(&value));
                message(2, serial, None, "v", &body)
            }
            BusAct::Error(name, words) => message(3, serial, Some(name), "s", &text(words)),
            BusAct::Bytes(bytes) => bytes,
            BusAct::Silence => continue,
            BusAct::Close => return stream.shutdown(std::net::Shutdown::Both),
        };
        stream.write_all(&bytes)?;
    }
}

/// A message with its header.
fn message(kind: u8, to: u32, error: Option<&str>, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    fields.extend([5, 1, b'u', 0]);
    fields.extend(to.to_le_bytes());
    if let Some(name) = error {
        fields.extend([4, 1, b's', 0]);
        fields.extend(text(name));
        fields.resize(fields.len().next_multiple_of(8), 0);
    }
    fields.extend([8, 1, b'g', 0]);
    fields.extend([1, signature.as_bytes()[0], 0]);
    let mut bytes = vec![b'l', kind, 1, 1];
    bytes.extend(length(body).to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(length(&fields).to_le_bytes());
    bytes.extend(fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = length(text.as_bytes()).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Reads what follows the fixed part of a header.
fn read_call(rest: &[u8], fields: usize) -> Option<BusCall> {
    // The fields begin at byte 16, which is aligned to all there is.
    let mut decoder = Decoder { bytes: rest.get(..fields)?, at: 0 };
    let (mut method, mut signature) = (String::new(), String::new());
    while decoder.at < decoder.bytes.len() {
        decoder.align(8);
        let code = decoder.byte()?;
        let of_field = decoder.signature()?;
        let value = decoder.value(&mut of_field.as_bytes())?;
        match code {
            3 => value.as_str()?.clone_into(&mut method),
            8 => value.as_str()?.clone_into(&mut signature),
            _ => {}
        }
    }
    let mut decoder = Decoder { bytes: rest.get(fields.next_multiple_of(8)..)?, at: 0 };
    let mut types = signature.as_bytes();
    let mut arguments = Vec::new();
    while !types.is_empty() {
        arguments.push(decoder.value(&mut types)?);
    }
    Some(BusCall { method, arguments })
}

/// Reads values by their signature.
struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    fn align(&mut self, size: usize) {
        self.at = self.at.next_multiple_of(size);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.byte()?.into();
        let text = String::from_utf8(self.take(length)?.to_vec()).ok();
        self.byte().filter(|byte| *byte == 0)?;
        text
    }

    /// Reads one value, and takes its type from the front of `types`.
    fn value(&mut self, types: &mut &[u8]) -> Option<Value> {
        let (first, rest) = types.split_first()?;
        *types = rest;
        Some(match first {
            b'y' => json!(self.byte()?),
            b'b' => json!(self.number()? != 0),
            b'u' => json!(self.number()?),
            b't' => {
                self.align(8);
                json!(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
            }
            b's' | b'o' => {
                let length = self.number()? as usize;
                let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
                self.byte().filter(|byte| *byte == 0)?;
                json!(text)
            }
            b'g' => json!(self.signature()?),
            b'v' => {
                let signature = self.signature()?;
                self.value(&mut signature.as_bytes())?
            }
            b'(' => {
                self.align(8);
                let mut values = Vec::new();
                while types.first() != Some(&b')') {
                    values.push(self.value(types)?);
                }
                *types = &types[1..];
                json!(values)
            }
            b'a' => {
                let length = self.number()? as usize;
                self.align(match types.first()? {
                    b'(' | b't' => 8,
                    b'y' | b'g' | b'v' => 1,
                    _ => 4,
                });
                let end = self.at + length;
                let of_element = *types;
                *types = &types[type_length(types)?..];
                let mut values = Vec::new();
                while self.at < end {
                    values.push(self.value(&mut { of_element })?);
                }
                json!(values)
            }
            _ => return None,
        })
    }
}

/// How long the type is that `types` begins with.
fn type_length(types: &[u8]) -> Option<usize> {
    match types.first()? {
        b'a' => Some(1 + type_length(&types[1..])?),
        b'(' => {
            let mut at = 1;
            while *types.get(at)? != b')' {
                at += type_length(&types[at..])?;
            }
            Some(at + 1)
        }
        _ => Some(1),
    }
}
