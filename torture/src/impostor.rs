//! A process that is called cloud-hypervisor, is handed its socket as one, and answers as it is
//! made to: what a real one can't be made to say.
//!
//! It is this very program under that name. What it answers stands in an attribute of its file, a line
//! for each request (`vm.boot garbage`), and is read anew for each: in the cage of a machine it can open
//! no other file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{XattrFlags, getxattr, setxattr};

use virshle_testkit::{FakeAnswer, FakeHypervisor, FakeRequest};

use crate::sys;
use virshle_testkit::{Failure, While};

/// The name by which it is known, and how a program knows that it is one.
const NAME: &str = "cloud-hypervisor";
/// What it answers, with its program.
const ACTS: &str = "user.acts";

/// What it may answer instead of the right thing.
pub(crate) const QUICK: [&str; 6] = ["garbage", "half", "endless", "refusal", "nonsense", "bye"];
/// What is found out by a deadline alone.
pub(crate) const SLOW: [&str; 2] = ["silence", "stall"];

/// An impostor that `v` can be made to run.
#[derive(Clone, Debug)]
pub(crate) struct Impostor {
    directory: PathBuf,
}

impl Impostor {
    /// Makes one in `directory`.
    pub(crate) fn make(directory: &Path) -> Result<Self, Failure> {
        let made = Self { directory: directory.to_owned() };
        let failed = || format!("cannot make an impostor in {}", directory.display());
        std::fs::create_dir_all(directory).doing(failed)?;
        let this = std::env::current_exe().doing(failed)?;
        std::fs::copy(this, made.program()).doing(failed)?;
        made.acts("")?;
        Ok(made)
    }

    /// The program.
    pub(crate) fn program(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// Sets what it answers from here on: lines of a request and an act.
    pub(crate) fn acts(&self, lines: &str) -> Result<(), Failure> {
        let path = self.program();
        setxattr(&path, ACTS, lines.as_bytes(), XattrFlags::empty())
            .doing(|| format!("cannot note an attribute of {}", path.display()))
    }
}

/// Whether this process was started as one.
pub(crate) fn is_one() -> bool {
    std::env::args_os().next().is_some_and(|arg| Path::new(&arg).ends_with(NAME))
}

/// Answers until it is killed; gives up if it was not handed a socket.
pub(crate) fn run() -> Option<()> {
    let mut args = std::env::args().skip_while(|arg| arg != "--api-socket").skip(1);
    let number = args.next()?.strip_prefix("fd=")?.split(',').next()?.parse().ok()?;
    let program = std::env::current_exe().ok()?;
    let config = Arc::new(Mutex::new(None));
    let listener = sys::inherited_listener(number);
    FakeHypervisor::serve(&listener, move |request| {
        let name = request.path().rsplit('/').next().unwrap_or_default().to_owned();
        let mut room = [0; 4096];
        let length = getxattr(&program, ACTS, room.as_mut_slice()).unwrap_or_default();
        let text = String::from_utf8_lossy(&room[..length]);
        let act = text.lines().find_map(|line| {
            let (wanted, act) = line.split_once(' ')?;
            (wanted == name).then(|| act.to_owned())
        });
        answer(&name, act.as_deref().unwrap_or("right"), request, &config)
    });
    Some(())
}

fn answer(
    name: &str,
    act: &str,
    request: FakeRequest,
    config: &Mutex<Option<String>>,
) -> FakeAnswer {
    let half = b"HTTP/1.1 200 \r\nContent-Length: 100\r\n\r\n{\"version\"".to_vec();
    match act {
        "garbage" => FakeAnswer::Bytes(b"\0\xff 220 smtp.example.org ESMTP\r\n\r\n".to_vec()),
        "half" => FakeAnswer::Cut(half),
        "stall" => FakeAnswer::Bytes(half),
        "endless" => FakeAnswer::Endless,
        "refusal" => FakeAnswer::Json(500, "[{\"not\": \"strings\"}, 7]".into()),
        "nonsense" => FakeAnswer::Bytes(b"HTTP/1.1 999 \r\nContent-Length: -1\r\n\r\n".to_vec()),
        "bye" => FakeAnswer::Cut(Vec::new()),
        "silence" => FakeAnswer::Silence,
        _ => right(name, request, config),
    }
}

/// What a real one would say, as far as `v` asks.
fn right(name: &str, request: FakeRequest, config: &Mutex<Option<String>>) -> FakeAnswer {
    let pid = std::process::id();
    let mut config = config.lock().unwrap_or_else(PoisonError::into_inner);
    match name {
        "vmm.ping" => FakeAnswer::Json(200, format!("{{\"version\": \"53.0.0\", \"pid\": {pid}}}")),
        "vm.create" => {
            *config = Some(request.body);
            FakeAnswer::Json(204, String::new())
        }
        "vm.info" => match &*config {
            Some(config) => {
                FakeAnswer::Json(200, format!("{{\"config\": {config}, \"state\": \"Running\"}}"))
            }
            None => FakeAnswer::Json(404, "[\"VM is not created\"]".into()),
        },
        _ => FakeAnswer::Json(204, String::new()),
    }
}
