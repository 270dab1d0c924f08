//! A server that says the same to whoever connects, whatever he asks, and listens to the end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

/// The server; it lives as long as the process.
pub(crate) struct AnsweringMachine {
    socket: PathBuf,
    words: Arc<Mutex<Vec<u8>>>,
    _folder: TempDir,
}

impl AnsweringMachine {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("socket.mgmt");
        let listener = UnixListener::bind(&socket).unwrap();
        let words = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::clone(&words);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let words = said.lock().unwrap().clone();
                answer(stream, &words);
            }
        });
        Self { socket, words, _folder: folder }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sets what it says to those who connect from here on.
    pub(crate) fn say(&self, words: &[u8]) {
        words.clone_into(&mut self.words.lock().unwrap());
    }
}

fn answer(mut stream: UnixStream, words: &[u8]) {
    // A client may hang up at any word.
    drop(stream.write_all(words));
    drop(stream.shutdown(Shutdown::Write));
    let mut room = [0; 4096];
    while stream.read(&mut room).is_ok_and(|read| read > 0) {}
}
