//! HTTP/1.1 over a Unix stream, as much of it as the API needs.
//!
//! # References
//!
//! - RFC 9112, sections 3 to 6: message format, status line, body length.
//! - unix(7), `SCM_RIGHTS`.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, socket_with,
};

use crate::deadline::Deadline;

/// The most bytes of a status line and headers.
const MAX_HEAD: usize = 16 << 10;
/// The most bytes of a body. `vm.info` of a machine with hundreds of devices stays far below.
const MAX_BODY: usize = 16 << 20;
/// The most descriptors that the kernel takes in one message (`SCM_MAX_FD`).
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Why an answer can't be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The first line isn't `HTTP/1.x`, a status and a reason.
    #[error("the answer doesn't begin with an HTTP status line")]
    StatusLine,
    /// A header line has no colon, or the head isn't text.
    #[error("a header of the answer is malformed")]
    Header,
    /// There are more headers than any server sends.
    #[error("the headers of the answer exceed {MAX_HEAD} bytes")]
    HeadTooLong,
    /// The body is longer than any server sends.
    #[error("the body of the answer is {0} bytes long, more than {MAX_BODY}")]
    BodyTooLong(u64),
    /// The length of the body isn't given in a way that this client knows.
    #[error("the length of the answer's body is unknown")]
    BodyLength,
    /// The body isn't the JSON that the request is answered with.
    #[error("the body of the answer isn't what was expected")]
    Json(#[from] serde_json::Error),
    /// The status is success, the body is missing.
    #[error("the answer has no body")]
    Empty,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    Timeout,
    Broken(io::Error),
    Answer(AnswerError),
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Broken(source),
        }
    }
}

/// A connection to an HTTP server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    /// It has carried an answer already.
    pub(crate) used: bool,
}

/// The server's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The server will take another request on this connection.
    pub(crate) persistent: bool,
}

impl Connection {
    /// Connects to the server at `socket`. A full queue of the server counts against the deadline.
    pub(crate) fn open(socket: &Path, deadline: &Deadline) -> io::Result<Self> {
        let address = SocketAddrUnix::new(socket)?;
        let kind = SocketType::STREAM;
        let fd = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        let left = deadline.left().ok_or(io::ErrorKind::TimedOut)?;
        set_socket_timeout(&fd, Timeout::Send, Some(left))?;
        connect(&fd, &address)?;
        Ok(Self { stream: UnixStream::from(fd), used: false })
    }

    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a request; the descriptors go with its first byte.
    pub(crate) fn send(
        &mut self,
        request: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline: &Deadline,
    ) -> Result<(), Failure> {
        let mut space = vec![
            MaybeUninit::uninit();
            if descriptors.is_empty() {
                0
            } else {
                SendAncillaryMessage::ScmRights(descriptors).size()
            }
        ];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Failure::Broken(io::ErrorKind::InvalidInput.into()));
        }
        let mut rest = request;
        while !rest.is_empty() {
            let left = deadline.left().ok_or(Failure::Timeout)?;
            set_socket_timeout(&self.stream, Timeout::Send, Some(left)).map_err(io::Error::from)?;
            let parts = [IoSlice::new(rest)];
            match sendmsg(&self.stream, &parts, &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    rest = &rest[sent..];
                    control.clear();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
        Ok(())
    }

    /// Reads one answer, past any interim (1xx) one.
    pub(crate) fn receive(&mut self, deadline: &Deadline) -> Result<Answer, Failure> {
        let mut buffer = Vec::new();
        loop {
            let end = self.fill_until_head(&mut buffer, deadline)?;
            let head = Head::parse(&buffer[..end]).map_err(Failure::Answer)?;
            buffer.drain(..end);
            if (100..200).contains(&head.status) {
                continue;
            }
            let length = head.body_length().map_err(Failure::Answer)?;
            while buffer.len() < length {
                self.fill(&mut buffer, deadline)?;
            }
            let persistent = buffer.len() == length && !head.close;
            buffer.truncate(length);
            self.used = true;
            return Ok(Answer { status: head.status, body: buffer, persistent });
        }
    }

    fn fill_until_head(
        &mut self,
        buffer: &mut Vec<u8>,
        deadline: &Deadline,
    ) -> Result<usize, Failure> {
        let mut searched: usize = 0;
        loop {
            let from = searched.saturating_sub(3);
            if let Some(at) = buffer[from..].windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(from + at + 4);
            }
            // A peer that doesn't speak HTTP is recognised by the first bytes, not by a timeout.
            let start = &buffer[..buffer.len().min(5)];
            if !b"HTTP/".starts_with(start) {
                return Err(Failure::Answer(AnswerError::StatusLine));
            }
            if buffer.len() > MAX_HEAD {
                return Err(Failure::Answer(AnswerError::HeadTooLong));
            }
            searched = buffer.len();
            self.fill(buffer, deadline)?;
        }
    }

    fn fill(&mut self, buffer: &mut Vec<u8>, deadline: &Deadline) -> Result<(), Failure> {
        let left = deadline.left().ok_or(Failure::Timeout)?;
        set_socket_timeout(&self.stream, Timeout::Recv, Some(left)).map_err(io::Error::from)?;
        let mut chunk = [0; 8192];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Failure::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(read) => {
                buffer.extend_from_slice(&chunk[..read]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes a request for `path`.
pub(crate) fn request(method: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
    if let Some(body) = body {
        let length = body.len();
        let headers = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        request.extend_from_slice(headers.as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body.unwrap_or_default());
    request
}

struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    close: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, AnswerError> {
        let text = std::str::from_utf8(bytes).map_err(|_| AnswerError::Header)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(status).ok_or(AnswerError::StatusLine)?;
        let mut head = Self { status, length: None, chunked: false, close: false };
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(AnswerError::Header)?;
            let value = value.trim_matches([' ', '\t']);
            if name.eq_ignore_ascii_case("content-length") {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let length = value.parse().ok().filter(|_| digits);
                let length = length.ok_or(AnswerError::BodyLength)?;
                if head.length.is_some_and(|other| other != length) {
                    return Err(AnswerError::BodyLength);
                }
                head.length = Some(length);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = true;
            } else if name.eq_ignore_ascii_case("connection") {
                head.close = value.eq_ignore_ascii_case("close");
            }
        }
        Ok(head)
    }

    fn body_length(&self) -> Result<usize, AnswerError> {
        if self.status == 204 || self.status == 304 {
            return Ok(0);
        }
        if self.chunked {
            return Err(AnswerError::BodyLength);
        }
        // cloud-hypervisor keeps the connection open and sends no length where it sends no body.
        let length = self.length.unwrap_or(0);
        match usize::try_from(length) {
            Ok(length) if length <= MAX_BODY => Ok(length),
            _ => Err(AnswerError::BodyTooLong(length)),
        }
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let (minor, rest) = rest.split_once(' ')?;
    let code = rest.get(..3)?;
    let ends = rest.len() == 3 || rest.as_bytes().get(3) == Some(&b' ');
    let digits = code.bytes().all(|byte| byte.is_ascii_digit());
    let right = matches!(minor, "0" | "1") && ends && digits;
    code.parse().ok().filter(|status| right && *status >= 100)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    fn receive(bytes: &[u8]) -> Result<Answer, Failure> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        Connection { stream: ours, used: false }.receive(&Deadline::after(Duration::from_secs(5)))
    }

    #[test]
    fn an_answer_with_a_body_is_read_whole() {
        let answer =
            receive(b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-length:  7 \r\n\r\n{\"a\":1}")
                .unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, b"{\"a\":1}");
        assert!(answer.persistent);
    }

    #[test]
    fn an_answer_without_a_length_has_no_body() {
        assert_eq!(receive(b"HTTP/1.1 204 \r\n\r\n").unwrap().body, b"");
        assert_eq!(receive(b"HTTP/1.1 200\r\n\r\n").unwrap().status, 200);
    }

    #[test]
    fn an_interim_answer_is_passed_over() {
        let answer = receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 \r\n\r\n").unwrap();
        assert_eq!(answer.status, 204);
    }

    #[test]
    fn half_an_answer_is_a_broken_connection() {
        for cut in ["HT", "HTTP/1.1 200 OK\r\nCon", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"]
        {
            assert!(matches!(receive(cut.as_bytes()), Err(Failure::Broken(_))), "{cut}");
        }
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        for garbage in [
            &b"SSH-2.0-OpenSSH\r\n\r\n"[..],
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 20\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 \xff\xfe\r\n\r\n",
        ] {
            let answer = receive(garbage);
            let shown = String::from_utf8_lossy(garbage);
            assert!(matches!(answer, Err(Failure::Answer(_))), "{shown}: {answer:?}");
        }
    }

    #[test]
    fn endless_headers_are_cut_off() {
        let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
        bytes.resize(MAX_HEAD + 100, b'a');
        assert!(matches!(receive(&bytes), Err(Failure::Answer(AnswerError::HeadTooLong))));
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let deadline = Deadline::after(Duration::from_millis(20));
        let answer = Connection { stream: ours, used: false }.receive(&deadline);
        assert!(matches!(answer, Err(Failure::Timeout)));
    }
}
