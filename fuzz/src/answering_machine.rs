//! A server that sends the same to each client, whatever it asks, and listens to the end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

/// The server; it lives as long as the process.
pub(crate) struct AnsweringMachine {
    socket: PathBuf,
    answer: Arc<Mutex<Vec<u8>>>,
    _directory: TempDir,
}

impl AnsweringMachine {
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = directory.path().join("socket.mgmt");
        let listener = UnixListener::bind(&socket).unwrap();
        let answer = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = shared.lock().unwrap().clone();
                respond(stream, &answer);
            }
        });
        Self { socket, answer, _directory: directory }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sets what it sends to those who connect from here on.
    pub(crate) fn set_answer(&self, answer: &[u8]) {
        answer.clone_into(&mut self.answer.lock().unwrap());
    }
}

fn respond(mut stream: UnixStream, answer: &[u8]) {
    // A client may hang up at any byte.
    drop(stream.write_all(answer));
    drop(stream.shutdown(Shutdown::Write));
    let mut room = [0; 4096];
    while stream.read(&mut room).is_ok_and(|read| read > 0) {}
}
