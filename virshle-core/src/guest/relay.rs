//! Relays bytes both ways between a connection and a pair of descriptors, such as those of a proxy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use crate::guest::stream::GuestStream;

/// What is read at once.
const ROOM: usize = 64 << 10;
/// What a pipe that is ready takes without blocking, pipe(7): `PIPE_BUF`. The descriptors come
/// from others, who may share them, so they are not made non-blocking.
const PIECE: usize = 4096;

/// Bytes on their way in one direction.
#[derive(Debug)]
struct Flow {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Nothing more comes.
    over: bool,
}

impl Flow {
    fn new() -> Self {
        Self { bytes: vec![0; ROOM], start: 0, end: 0, over: false }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it is time to read, which it is when everything has been written.
    fn wants_more(&self) -> bool {
        self.is_empty() && !self.over
    }

    fn is_done(&self) -> bool {
        self.is_empty() && self.over
    }

    fn fill(&mut self, source: BorrowedFd<'_>) -> io::Result<()> {
        match read(source, self.bytes.as_mut_slice()) {
            Ok(0) | Err(Errno::CONNRESET | Errno::IO) => self.over = true,
            Ok(length) => (self.start, self.end) = (0, length),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Takes note of what was written; gives up what is not read any more.
    fn written(&mut self, result: Result<usize, Errno>) -> io::Result<()> {
        match result {
            Ok(length) => self.start += length,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::PIPE | Errno::CONNRESET) => {
                (self.start, self.end, self.over) = (0, 0, true);
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

impl GuestStream {
    /// Carries bytes from `input` to the guest and from the guest to `output`, until both ends are
    /// done. The end of one direction is passed on and leaves the other open: the guest sees that
    /// `input` ended, and `output` is closed when the guest closes its side.
    ///
    /// Returns earlier when the guest is gone, or `output` is not read any more. It takes no
    /// thread and leaves none.
    ///
    /// # Errors
    ///
    /// If a descriptor can't be read or written, for another reason than that its other end went
    /// away.
    pub fn relay(self, input: OwnedFd, output: OwnedFd) -> io::Result<()> {
        let socket = OwnedFd::from(self);
        ioctl_fionbio(&socket, true)?;
        let (mut input, mut output) = (Some(input), Some(output));
        let (mut to_guest, mut from_guest) = (Flow::new(), Flow::new());
        while input.is_some() || output.is_some() {
            let ready =
                Ready::wait(&socket, input.as_ref(), output.as_ref(), &to_guest, &from_guest)?;

            if let Some(input) = input.as_ref().filter(|_| !ready.input.is_empty()) {
                to_guest.fill(input.as_fd())?;
            }
            if ready.socket.contains(PollFlags::OUT) {
                to_guest.written(send(&socket, to_guest.pending(), SendFlags::NOSIGNAL))?;
            }
            if to_guest.is_done() && input.take().is_some() {
                // The guest may be gone already, which the other direction notices.
                shutdown(&socket, Shutdown::Write).ok();
            }

            let hung_up = ready.socket.intersects(PollFlags::HUP | PollFlags::ERR);
            if from_guest.wants_more() && (hung_up || ready.socket.contains(PollFlags::IN)) {
                from_guest.fill(socket.as_fd())?;
            }
            if let Some(output) = &output {
                if ready.output.contains(PollFlags::OUT) {
                    let pending = from_guest.pending();
                    let piece = &pending[..pending.len().min(PIECE)];
                    from_guest.written(write(output, piece))?;
                } else if !ready.output.is_empty() {
                    // It is not read any more.
                    return Ok(());
                }
            }
            if from_guest.is_done() {
                output = None;
                if hung_up {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// What can be done without waiting.
#[derive(Debug)]
struct Ready {
    socket: PollFlags,
    input: PollFlags,
    output: PollFlags,
}

impl Ready {
    /// Waits until something can be done, or one of the ends is gone.
    fn wait(
        socket: &OwnedFd,
        input: Option<&OwnedFd>,
        output: Option<&OwnedFd>,
        to_guest: &Flow,
        from_guest: &Flow,
    ) -> io::Result<Self> {
        let mut at_socket = PollFlags::empty();
        at_socket.set(PollFlags::IN, from_guest.wants_more());
        at_socket.set(PollFlags::OUT, !to_guest.is_empty());
        let mut at_output = PollFlags::empty();
        at_output.set(PollFlags::OUT, !from_guest.is_empty());
        // A guest that is gone is always ready, also while what it sent last can't be written yet.
        let socket = Some(socket).filter(|_| !at_socket.is_empty() || from_guest.is_empty());
        let input = input.filter(|_| to_guest.wants_more());
        let asked = [(socket, at_socket), (input, PollFlags::IN), (output, at_output)];
        let mut sources: Vec<PollFd<'_>> = asked
            .iter()
            .filter_map(|(descriptor, events)| Some(PollFd::new((*descriptor)?, *events)))
            .collect();
        while let Err(errno) = poll(&mut sources, None) {
            if errno != Errno::INTR {
                return Err(errno.into());
            }
        }
        let mut found = sources.iter().map(PollFd::revents);
        let [socket, input, output] = asked.map(|(descriptor, _)| {
            descriptor.and_then(|_| found.next()).unwrap_or(PollFlags::empty())
        });
        Ok(Self { socket, input, output })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write, pipe};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;
    use crate::guest::stream::Route;

    fn stream() -> (GuestStream, UnixStream) {
        let (ours, guest) = UnixStream::pair().unwrap();
        (GuestStream::new(Route::Vsock, ours.into()), guest)
    }

    #[test]
    fn the_end_of_the_input_leaves_the_answer_open() {
        let (ours, mut guest) = stream();
        let (input, mut typed) = pipe().unwrap();
        let (mut seen, output) = pipe().unwrap();
        let relay = thread::spawn(move || ours.relay(input.into(), output.into()));
        // More than fits in any buffer on the way, both ways.
        let question = vec![b'q'; 1 << 20];
        let asked = question.clone();
        let asker = thread::spawn(move || {
            typed.write_all(&asked).unwrap();
            drop(typed);
        });
        let answerer = thread::spawn(move || {
            let mut received = Vec::new();
            guest.read_to_end(&mut received).unwrap();
            guest.write_all(&received).unwrap();
            received.len()
        });
        let mut answer = Vec::new();
        seen.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, question);
        asker.join().unwrap();
        assert_eq!(answerer.join().unwrap(), 1 << 20);
        relay.join().unwrap().unwrap();
    }

    #[test]
    fn the_end_of_the_answer_leaves_the_input_open() {
        let (ours, mut guest) = stream();
        let (input, mut typed) = pipe().unwrap();
        let (mut seen, output) = pipe().unwrap();
        let relay = thread::spawn(move || ours.relay(input.into(), output.into()));
        guest.write_all(b"bye").unwrap();
        guest.shutdown(std::net::Shutdown::Write).unwrap();
        let mut printed = String::new();
        seen.read_to_string(&mut printed).unwrap();
        assert_eq!(printed, "bye");
        typed.write_all(b"still here").unwrap();
        drop(typed);
        let mut received = String::new();
        guest.read_to_string(&mut received).unwrap();
        assert_eq!(received, "still here");
        relay.join().unwrap().unwrap();
    }

    #[test]
    fn a_guest_that_goes_away_ends_it_although_the_input_is_open() {
        let (ours, mut guest) = stream();
        let (input, _typed) = pipe().unwrap();
        let (mut seen, output) = pipe().unwrap();
        let relay = thread::spawn(move || ours.relay(input.into(), output.into()));
        guest.write_all(b"last bytes").unwrap();
        drop(guest);
        let mut printed = String::new();
        seen.read_to_string(&mut printed).unwrap();
        assert_eq!(printed, "last bytes");
        relay.join().unwrap().unwrap();
    }

    #[test]
    fn a_reader_who_goes_away_ends_it() {
        let (ours, _guest) = stream();
        let (input, _typed) = pipe().unwrap();
        let (seen, output) = pipe().unwrap();
        let relay = thread::spawn(move || ours.relay(input.into(), output.into()));
        drop(seen);
        relay.join().unwrap().unwrap();
    }

    #[test]
    fn the_connection_itself_can_be_handed_over() {
        let (ours, mut guest) = stream();
        let (to, from) = UnixStream::pair().unwrap();
        ours.hand_over(&to).unwrap();
        drop(ours);
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
        let mut byte = [7];
        let mut parts = [std::io::IoSliceMut::new(&mut byte)];
        let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
        rustix::net::recvmsg(&from, &mut parts, &mut control, flags).unwrap();
        let got = control.drain().find_map(|message| match message {
            rustix::net::RecvAncillaryMessage::ScmRights(mut all) => all.next(),
            _ => None,
        });
        UnixStream::from(got.unwrap()).write_all(b"hello").unwrap();
        let mut received = [0; 5];
        guest.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"hello");
        let (input, output) = pipe().unwrap();
        let (ours, _guest) = stream();
        assert!(ours.hand_over(&output).is_err());
        drop(input);
    }
}
