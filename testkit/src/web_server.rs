//! A web server of a test's own, which misbehaves on demand.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A file of a [`WebServer`], and how it is served.
#[derive(Clone, Debug, Default)]
#[must_use = "`WebServer::put` serves it"]
pub struct WebFile {
    bytes: Arc<Vec<u8>>,
    etag: Option<String>,
    last_modified: Option<String>,
    status: Option<u16>,
    location: Option<String>,
    ignores_ranges: bool,
    chunked: bool,
    unbounded: bool,
    cut_after: Option<usize>,
    stall_after: Option<usize>,
}

impl WebFile {
    /// A file that is served as it should be, with its length, and in parts if asked for.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Arc::new(bytes.into()), ..Self::default() }
    }

    /// No file, but a status.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// No file, but another place to look for it.
    pub fn moved(location: &str) -> Self {
        Self { status: Some(302), location: Some(location.to_owned()), ..Self::default() }
    }

    /// Gives it an entity tag, with its quotes.
    pub fn etag(mut self, etag: &str) -> Self {
        self.etag = Some(etag.to_owned());
        self
    }

    /// Gives it a date.
    pub fn last_modified(mut self, date: &str) -> Self {
        self.last_modified = Some(date.to_owned());
        self
    }

    /// Serves the whole file, whatever part is asked for.
    pub fn ignores_ranges(mut self) -> Self {
        self.ignores_ranges = true;
        self
    }

    /// Serves it in chunks, without its length.
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Serves it without its length: it ends with the connection.
    pub fn unbounded(mut self) -> Self {
        self.unbounded = true;
        self
    }

    /// Cuts the connection after so many bytes of each answer.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// Is silent after so many bytes of each answer, until the server ends.
    pub fn stall_after(mut self, bytes: usize) -> Self {
        self.stall_after = Some(bytes);
        self
    }
}

/// A request that a [`WebServer`] took.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebRequest {
    /// The path.
    pub path: String,
    /// The part that is asked for.
    pub range: Option<String>,
    /// On which condition.
    pub if_range: Option<String>,
    /// Who asks.
    pub authorization: Option<String>,
}

/// What the threads of a server have in common.
#[derive(Debug, Default)]
struct Shared {
    files: Mutex<HashMap<String, WebFile>>,
    requests: Mutex<Vec<WebRequest>>,
    stop: AtomicBool,
    /// Notified when the server ends, and when a client stalls.
    stalled: Mutex<usize>,
    changed: Condvar,
}

/// A web server on a port of this host. It ends when it is dropped.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A certificate authority of a test's own, created by `openssl`, and a server's certificate by it.
#[derive(Debug)]
pub struct TestAuthority {
    directory: tempfile::TempDir,
}

impl TestAuthority {
    /// Creates the authority, and a certificate of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If `openssl` fails.
    pub fn new() -> io::Result<Self> {
        let authority = Self { directory: tempfile::tempdir()? };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let is_authority = "basicConstraints=critical,CA:TRUE";
        authority.openssl(
            &[
                &["req", "-x509", "-days", "2", "-subj", "/CN=test authority"],
                &key[..],
                &["-addext", is_authority, "-keyout", "ca.key", "-out", "ca.pem"],
            ]
            .concat(),
        )?;
        let names = ["-addext", "subjectAltName=IP:127.0.0.1"];
        authority.openssl(
            &[
                &["req", "-x509", "-days", "2", "-subj", "/CN=test", "-CA", "ca.pem"],
                &["-CAkey", "ca.key", "-addext", "basicConstraints=CA:FALSE"][..],
                &key,
                &names,
                &["-keyout", "server.key", "-out", "server.pem"],
            ]
            .concat(),
        )?;
        Ok(authority)
    }

    /// The authority's certificate, for `SSL_CERT_FILE`.
    pub fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, args: &[&str]) -> io::Result<()> {
        let output =
            Command::new("openssl").args(args).current_dir(self.directory.path()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(io::Error::other(format!("openssl {args:?}: {text}")))
    }

    fn server_config(&self) -> io::Result<ServerConfig> {
        let certificate =
            CertificateDer::from_pem_file(self.path("server.pem")).map_err(io::Error::other)?;
        let key =
            PrivateKeyDer::from_pem_file(self.path("server.key")).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![certificate], key)
            })
            .map_err(io::Error::other)
    }
}

impl WebServer {
    /// Listens on a port that the kernel chooses, for `http`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn start() -> io::Result<Self> {
        Self::listen("http", None)
    }

    /// The same for `https`.
    ///
    /// # Errors
    ///
    /// If there is no port, or the certificate can't be read.
    pub fn start_tls(authority: &TestAuthority) -> io::Result<Self> {
        Self::listen("https", Some(Arc::new(authority.server_config()?)))
    }

    fn listen(scheme: &'static str, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let mut connections = Vec::new();
                for stream in listener.incoming() {
                    if shared.stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let Ok(ours) = stream.try_clone() else { continue };
                    let (shared, tls) = (Arc::clone(&shared), tls.clone());
                    // A client that goes away is reported to this thread by an error: its end.
                    let thread = thread::spawn(move || drop(accept(stream, tls, &shared)));
                    connections.push((ours, thread));
                }
                for (stream, thread) in connections {
                    drop(stream.shutdown(Shutdown::Both));
                    drop(thread.join());
                }
            }
        });
        Ok(Self { address, scheme, shared, thread: Some(thread) })
    }

    /// Serves `file` at `path` from now on.
    pub fn put(&self, path: &str, file: WebFile) {
        lock(&self.shared.files).insert(path.to_owned(), file);
    }

    /// The address of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The requests since this was asked last.
    pub fn take_requests(&self) -> Vec<WebRequest> {
        std::mem::take(&mut lock(&self.shared.requests))
    }

    /// Waits until another client waits for bytes that don't come.
    pub fn wait_for_stall(&self) {
        let mut stalled = lock(&self.shared.stalled);
        while *stalled == 0 {
            stalled = self.shared.changed.wait(stalled).unwrap_or_else(PoisonError::into_inner);
        }
        *stalled -= 1;
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Under the lock, so that a thread that is just about to wait doesn't miss it.
        drop(lock(&self.shared.stalled));
        self.shared.changed.notify_all();
        if TcpStream::connect(self.address).is_ok() {
            if let Some(thread) = self.thread.take() {
                drop(thread.join());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(stream: TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Shared) -> io::Result<()> {
    let end = stream.try_clone()?;
    let result = match tls {
        None => serve(stream, shared),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(connection, stream);
            let result = serve(&mut stream, shared);
            stream.conn.send_close_notify();
            result.and(stream.flush())
        }
    };
    // Copies of the stream are kept to end it early: they must not keep it.
    drop(end.shutdown(Shutdown::Both));
    result
}

/// Answers one request.
fn serve(stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let field = |name: &str| {
        let mut fields = head.iter().skip(1).filter_map(|line| line.split_once(':'));
        let found = fields.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let request = WebRequest {
        path: path.clone(),
        range: field("range"),
        if_range: field("if-range"),
        authorization: field("authorization"),
    };
    lock(&shared.requests).push(request.clone());
    let file = lock(&shared.files).get(&path).cloned();
    answer(stream.get_mut(), &file.unwrap_or_else(|| WebFile::status(404)), &request, shared)
}

fn answer(
    stream: &mut (impl Read + Write),
    file: &WebFile,
    request: &WebRequest,
    shared: &Shared,
) -> io::Result<()> {
    let length = file.bytes.len();
    let condition = request.if_range.as_ref();
    let is_same = condition.is_none()
        || file.etag.as_ref() == condition
        || file.last_modified.as_ref() == condition;
    let start = request
        .range
        .as_ref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok())
        .filter(|_| is_same && !file.ignores_ranges);
    let (status, bytes) = match (file.status, start) {
        (Some(status), _) => (status, &b"some words"[..]),
        (None, None) => (200, &file.bytes[..]),
        (None, Some(start)) if start < length => (206, &file.bytes[start..]),
        (None, Some(_)) => (416, &b""[..]),
    };
    let mut head = format!("HTTP/1.1 {status} Words\r\nConnection: close\r\n");
    for (name, value) in
        [("ETag", &file.etag), ("Last-Modified", &file.last_modified), ("Location", &file.location)]
    {
        if let Some(value) = value {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    match (status, start) {
        (206, Some(start)) => {
            head.push_str(&format!("Content-Range: bytes {start}-{}/{length}\r\n", length - 1));
        }
        (416, _) => head.push_str(&format!("Content-Range: bytes */{length}\r\n")),
        _ => {}
    }
    if file.chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
    } else if !file.unbounded {
        head.push_str(&format!("Content-Length: {}\r\n", bytes.len()));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let sent = file.cut_after.or(file.stall_after).unwrap_or(usize::MAX).min(bytes.len());
    for part in bytes[..sent].chunks(10_000) {
        if file.chunked {
            stream.write_all(format!("{:x}\r\n", part.len()).as_bytes())?;
        }
        stream.write_all(part)?;
        if file.chunked {
            stream.write_all(b"\r\n")?;
        }
    }
    if file.chunked && sent == bytes.len() {
        stream.write_all(b"0\r\n\r\n")?;
    }
    stream.flush()?;
    if file.stall_after.is_some() {
        let mut stalled = lock(&shared.stalled);
        *stalled += 1;
        shared.changed.notify_all();
        while !shared.stop.load(Ordering::SeqCst) {
            stalled = shared.changed.wait(stalled).unwrap_or_else(PoisonError::into_inner);
        }
    }
    Ok(())
}
