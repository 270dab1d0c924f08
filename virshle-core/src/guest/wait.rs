//! Waiting until one can get into a machine.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, recv};

use crate::address::host_addresses::SightingsWatch;
use crate::error::CoreError;
use crate::guest::ssh::SSH_PORT;
use crate::guest::stream::GuestStream;
use crate::machine::vm::Vm;
use crate::machine::watch::VmWatch;
use crate::model::state::VmState;
use crate::store::run_record::{Phase, Run};

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Awaited {
    /// It was started, and its guest runs.
    Boot,
    /// It runs, and an address of it is known that holds beyond one link.
    Address,
    /// Its ssh server answers, by vsock or over a network.
    #[default]
    Ssh,
}

impl Awaited {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Boot, Self::Address, Self::Ssh];

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Address => "address",
            Self::Ssh => "ssh",
        }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// How long to wait before the guest is asked again: it tells nobody when its ssh server is up.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long one attempt may take: the network's first answer may be a while in coming.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(250);
const LONGEST_ATTEMPT: Duration = Duration::from_secs(2);
/// How long a server may take to say its first word: one that is started for each connection may
/// have to be read from a slow disk.
const GREETING: Duration = Duration::from_secs(10);
/// The most that a server says before its version, in bytes.
const MAX_GREETING: u64 = 8 << 10;

/// What is not as it should be yet.
#[derive(Debug)]
struct Missing {
    /// In a few words, as `it is stopped`.
    what: String,
    comes: Comes,
}

/// How its coming is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comes {
    /// One of the watches tells.
    Announced,
    /// Nobody tells: it must be asked for again.
    Unannounced,
}

impl Vm {
    /// Waits until the machine is as far as `awaited`. A machine that doesn't run yet may be
    /// started meanwhile.
    ///
    /// # Errors
    ///
    /// [`CoreError::NotYet`] when the time is over, with what it was waiting for and what kept it;
    /// [`CoreError::Removed`] if the machine is removed meanwhile.
    pub fn wait(&self, awaited: Awaited, timeout: Duration) -> Result<(), CoreError> {
        let deadline = Instant::now() + timeout;
        let vm = VmWatch::new(self)?;
        let sightings =
            (awaited == Awaited::Address).then(|| SightingsWatch::new(&self.node().lease_places()));
        let mut pause = FIRST_PAUSE;
        loop {
            // Before the question, so that nothing is missed after it.
            vm.drain()?;
            if let Some(sightings) = &sightings {
                sightings.drain();
            }
            let missing = match awaited {
                Awaited::Boot => self.missing_boot(),
                Awaited::Address => self.missing_boot().or_else(|| self.missing_address()),
                Awaited::Ssh => self.missing_ssh(deadline),
            };
            let Some(missing) = missing else { return Ok(()) };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let (vm, missing) = (self.name().clone(), missing.what);
                return Err(CoreError::NotYet { vm, awaited, timeout, missing });
            }
            let until = match missing.comes {
                Comes::Announced => left,
                Comes::Unannounced => left.min(pause),
            };
            if missing.comes == Comes::Unannounced {
                pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            }
            let mut heard = vec![PollFd::new(&vm, PollFlags::IN)];
            if let Some(sightings) = &sightings {
                let of = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
                heard.extend(sightings.descriptors().map(of));
            }
            // What can't be polled is asked again: the deadline holds in any case.
            poll(&mut heard, Timespec::try_from(until).ok().as_ref()).ok();
        }
    }

    /// Connects to `port` of the guest as [`connect`](Self::connect) does, and waits for it while the
    /// machine comes up: as long as it runs, and at most for `timeout`. `on_wait` hears, once, why it
    /// has to be waited for: of each way that was tried.
    ///
    /// An ssh server is not up before it says something: behind a socket that somebody else listens
    /// at, it may not have its keys yet.
    ///
    /// # Errors
    ///
    /// [`CoreError::WrongState`] if the machine doesn't run, or doesn't any more;
    /// [`CoreError::Unreachable`] when the time is over.
    pub fn connect_when_up(
        &self,
        port: u16,
        timeout: Duration,
        on_wait: impl FnOnce(&[String]),
    ) -> Result<GuestStream, CoreError> {
        let deadline = Instant::now() + timeout;
        let mut on_wait = Some(on_wait);
        let mut pause = FIRST_PAUSE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let tried = match self.connect(port, left.clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT)) {
                Ok(stream) if port != SSH_PORT => return Ok(stream),
                Ok(stream) => match first_word(&stream, left.clamp(SHORTEST_ATTEMPT, GREETING)) {
                    Ok(()) => return Ok(stream),
                    Err(error) => vec![format!("{}: {error}", stream.route())],
                },
                Err(CoreError::Unreachable { tried, .. }) => tried,
                Err(error) => return Err(error),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CoreError::Unreachable { vm: self.name().clone(), port, tried });
            }
            if let Some(on_wait) = on_wait.take() {
                on_wait(&tried);
            }
            // That it listens nobody tells. Its end would be heard of, and is soon enough known.
            std::thread::sleep(left.min(pause));
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    fn missing_boot(&self) -> Option<Missing> {
        let state = self.state();
        let comes = match state {
            VmState::Running if Run::read(self.folder())?.phase == Phase::Started => return None,
            // A VMM that was silent tells nobody when it isn't any more.
            VmState::Unresponsive => Comes::Unannounced,
            _ => Comes::Announced,
        };
        let what = match state {
            VmState::Running => "it is being started".into(),
            _ => format!("it is {state}"),
        };
        Some(Missing { what, comes })
    }

    fn missing_address(&self) -> Option<Missing> {
        let addresses = self.addresses();
        if addresses.iter().any(|address| !address.is_link_local()) {
            return None;
        }
        let what =
            "neither its definition, its console, a DHCP lease nor the host's neighbours tell one";
        // What the guest says on its console comes a letter at a time: not worth hearing each.
        Some(Missing { what: what.into(), comes: Comes::Unannounced })
    }

    fn missing_ssh(&self, deadline: Instant) -> Option<Missing> {
        // Also the last question is a real one, and so is the only one of a wait of no time.
        let left = deadline.saturating_duration_since(Instant::now());
        let attempt = left.clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT);
        let answer = match self.connect(SSH_PORT, attempt) {
            Ok(stream) => greet(stream, left.clamp(SHORTEST_ATTEMPT, GREETING)),
            // The way to a machine that is off opens when it is started, which is heard of. But a
            // socket is there a moment before it is listened at, and of that nobody tells.
            Err(error @ CoreError::WrongState { .. }) => {
                let off = !self.vsock().exists() && !self.api_socket().exists();
                let comes = if off { Comes::Announced } else { Comes::Unannounced };
                return Some(Missing { what: error.to_string(), comes });
            }
            Err(error) => {
                return Some(Missing { what: error.to_string(), comes: Comes::Unannounced });
            }
        };
        let what = match answer {
            Ok(()) => return None,
            Err(error) => format!("what answers there is no ssh server: {error}"),
        };
        Some(Missing { what, comes: Comes::Unannounced })
    }
}

/// Waits until the server at the other end says something, and leaves it to be read. One that is
/// silent for so long may yet say it to whoever gets the connection.
fn first_word(stream: &GuestStream, timeout: Duration) -> io::Result<()> {
    let mut heard = [PollFd::new(stream, PollFlags::IN)];
    match poll(&mut heard, Timespec::try_from(timeout).ok().as_ref()) {
        Ok(0) | Err(Errno::INTR) => return Ok(()),
        other => other?,
    };
    match recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => {
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, "what answers there hangs up at once"))
        }
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Hears the version of the ssh server at the other end, and tells it ours, as it would otherwise
/// complain of a client without one.
///
/// # References
///
/// RFC 4253, section 4.2: other lines may come before it.
fn greet(stream: GuestStream, timeout: Duration) -> io::Result<()> {
    // Reading and writing is the same on any socket.
    let mut stream = UnixStream::from(OwnedFd::from(stream));
    set_socket_timeout(&stream, Timeout::Recv, Some(timeout))?;
    let mut greeting = BufReader::new((&stream).take(MAX_GREETING));
    loop {
        let mut line = Vec::new();
        if greeting.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.starts_with(b"SSH-") {
            break;
        }
    }
    // Whether it still listens is of no interest.
    drop(stream.write_all(b"SSH-2.0-virshle\r\n"));
    Ok(())
}
