//! cloud-hypervisor as it doesn't behave on demand: an API server that misbehaves, and programs
//! that fail to become one.

use std::collections::HashMap;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::socket_server::SocketServer;

/// What a [`FakeHypervisor`] does with a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FakeAnswer {
    /// Answers with a status and a body.
    Json(u16, String),
    /// Sends these bytes, and keeps the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    Cut(Vec<u8>),
    /// Sends headers without end.
    Endless,
    /// Says nothing, and keeps the connection.
    Silence,
}

/// A request that a [`FakeHypervisor`] took.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FakeRequest {
    /// The method and the path: `PUT /api/v1/vm.boot`.
    pub line: String,
    /// The body.
    pub body: String,
    /// How many descriptors came with it.
    pub descriptors: usize,
}

impl FakeAnswer {
    fn not_found() -> Self {
        Self::Json(404, "[\"Not Found\"]".into())
    }
}

impl FakeRequest {
    /// The path: `/api/v1/vm.boot`.
    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// A server at an API socket that answers as it is set up. It ends when it is dropped.
#[derive(Debug)]
pub struct FakeHypervisor {
    requests: Arc<Mutex<Vec<FakeRequest>>>,
    _server: SocketServer,
}

impl FakeHypervisor {
    /// Listens at `socket`. Requests are answered by their name (`vm.boot`), others with status
    /// 404.
    ///
    /// # Errors
    ///
    /// If the socket can't be created.
    pub fn start(socket: &Path, answers: &[(&str, FakeAnswer)]) -> io::Result<Self> {
        let answers: HashMap<String, FakeAnswer> = answers
            .iter()
            .map(|(name, answer)| (format!("/api/v1/{name}"), answer.clone()))
            .collect();
        let answers = Arc::new(answers);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&requests);
        // A client that goes away is an error: the connection's end.
        let server = SocketServer::start(socket, move |stream| {
            drop(serve(stream, &|request| {
                let answer = answers.get(request.path()).cloned();
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                answer.unwrap_or_else(FakeAnswer::not_found)
            }));
        })?;
        Ok(Self { requests, _server: server })
    }

    /// Answers at `listener` for as long as the process lives.
    pub fn serve(
        listener: &UnixListener,
        answer: impl Fn(FakeRequest) -> FakeAnswer + Clone + Send + 'static,
    ) {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || drop(serve(stream, &answer)));
        }
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<FakeRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: UnixStream, answer: &dyn Fn(FakeRequest) -> FakeAnswer) -> io::Result<()> {
    while let Some(request) = read_request(&mut stream)? {
        match answer(request) {
            FakeAnswer::Json(status, body) => stream.write_all(&json(status, &body))?,
            FakeAnswer::Bytes(bytes) => stream.write_all(&bytes)?,
            FakeAnswer::Cut(bytes) => {
                stream.write_all(&bytes)?;
                return stream.shutdown(std::net::Shutdown::Both);
            }
            FakeAnswer::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                stream.set_write_timeout(Some(Duration::from_secs(5)))?;
                loop {
                    stream.write_all(b"X-More: and more\r\n")?;
                }
            }
            FakeAnswer::Silence => {}
        }
    }
    Ok(())
}

fn json(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} \r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn read_request(stream: &mut UnixStream) -> io::Result<Option<FakeRequest>> {
    let mut bytes = vec![0; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let read = recvmsg(&*stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let descriptors = control
        .drain()
        .map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.count(),
            _ => 0,
        })
        .sum();
    bytes.truncate(read);
    if bytes.is_empty() {
        return Ok(None);
    }
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, &mut bytes)?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok())
        .unwrap_or(0);
    while bytes.len() < head + length {
        read_more(stream, &mut bytes)?;
    }
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_suffix(" HTTP/1.1").unwrap_or(line).to_owned();
    let body = String::from_utf8_lossy(&bytes[head..]).into_owned();
    Ok(Some(FakeRequest { line, body, descriptors }))
}

fn read_more(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            bytes.extend_from_slice(&chunk[..read]);
            Ok(())
        }
    }
}

/// A `cloud-hypervisor` that isn't one: a shell script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeProgram {
    script: String,
}

impl FakeProgram {
    /// Runs these shell commands.
    pub fn script(commands: &str) -> Self {
        Self { script: format!("#!/bin/sh\n{commands}\n") }
    }

    /// Writes `message` to standard error and ends with `status`.
    pub fn dies(message: &str, status: u8) -> Self {
        let message = message.replace('\'', "'\\''");
        Self::script(&format!("printf '%s\\n' '{message}' >&2\nexit {status}"))
    }

    /// Is of this version, as `v43.0`.
    pub fn of_version(version: &str) -> Self {
        Self::script(&format!("echo 'cloud-hypervisor {version}'"))
    }

    /// Does nothing for a minute, whatever it is asked.
    pub fn hangs() -> Self {
        Self::script("exec sleep 60")
    }

    /// Writes the program into `directory`, executable, and returns its path.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        let path = directory.join("cloud-hypervisor");
        // By another process: with a descriptor of ours open for writing, which a thread that
        // forks just now would pass on, the program couldn't be run ("text file busy").
        let mut shell = Command::new("sh")
            .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = shell.stdin.take() {
            stdin.write_all(self.script.as_bytes())?;
        }
        if !shell.wait()?.success() {
            return Err(io::Error::other(format!("cannot write {}", path.display())));
        }
        Ok(path)
    }
}
