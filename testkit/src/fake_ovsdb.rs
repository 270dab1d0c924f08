//! A database server that does what a real one can't be made to do on demand.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What the fake does on a request, one act after the other. No act at all is silence.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OvsdbAct {
    /// Answers with this result.
    Result(Value),
    /// Answers with this error.
    Error(Value),
    /// Sends a message: a notification, a request.
    Message(Value),
    /// Sends these bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Sends a message that never ends, until its client reads no more.
    Endless,
    /// Closes the connection.
    Close,
}

/// A server that speaks OVSDB's wire (RFC 7047) on a unix socket and answers as it is set up.
///
/// What it received that was no request (answers to its own echo) is kept. It ends when dropped.
#[derive(Debug)]
pub struct FakeOvsdb {
    socket: PathBuf,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
    _directory: TempDir,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    received: Mutex<Vec<Value>>,
    current: Mutex<Option<UnixStream>>,
}

impl FakeOvsdb {
    /// Starts a server that asks `answer` what to do on each request, one connection after the
    /// other.
    ///
    /// # Errors
    ///
    /// When the temporary directory or the socket can't be created.
    pub fn start(
        mut answer: impl FnMut(&Value) -> Vec<OvsdbAct> + Send + 'static,
    ) -> io::Result<Self> {
        let directory = TempDir::with_prefix("fake-ovsdb-")?;
        let socket = directory.path().join("db.sock");
        let listener = UnixListener::bind(&socket)?;
        let shared = Arc::new(Shared::default());
        let inside = Arc::clone(&shared);
        let server = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if inside.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A connection that breaks is the client's business.
                drop(serve(&stream, &inside, &mut answer));
            }
        });
        Ok(Self { socket, shared, server: Some(server), _directory: directory })
    }

    /// Its unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its address, `unix:…/db.sock`.
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// What it received that was no request.
    pub fn received(&self) -> Vec<Value> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(
    stream: &UnixStream,
    shared: &Shared,
    answer: &mut impl FnMut(&Value) -> Vec<OvsdbAct>,
) -> io::Result<()> {
    let kept = stream.try_clone()?;
    *shared.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    let messages = serde_json::Deserializer::from_reader(stream).into_iter::<Value>();
    for message in messages {
        let message = message?;
        if message.get("method").is_none() {
            shared.received.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            continue;
        }
        let id = &message["id"];
        for act in answer(&message) {
            let mut stream = stream;
            let bytes = match act {
                OvsdbAct::Result(result) => {
                    json!({"id": id, "result": result, "error": null}).to_string().into_bytes()
                }
                OvsdbAct::Error(error) => {
                    json!({"id": id, "result": null, "error": error}).to_string().into_bytes()
                }
                OvsdbAct::Message(message) => message.to_string().into_bytes(),
                OvsdbAct::Bytes(bytes) => bytes,
                OvsdbAct::Endless => {
                    stream.write_all(b"{\"method\":\"")?;
                    loop {
                        stream.write_all(&[b'x'; 64 << 10])?;
                    }
                }
                OvsdbAct::Close => return stream.shutdown(Shutdown::Both),
            };
            stream.write_all(&bytes)?;
        }
    }
    Ok(())
}

impl Drop for FakeOvsdb {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let current = &self.shared.current;
        if let Some(stream) = current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It fails when the client has closed it already.
            drop(stream.shutdown(Shutdown::Both));
        }
        // Wakes the server from waiting for a connection.
        drop(UnixStream::connect(&self.socket));
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(ended.is_ok() || thread::panicking(), "the fake database server panicked");
        }
    }
}
