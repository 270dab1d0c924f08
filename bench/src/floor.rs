//! The floors: what the kernel, the VMM and the switch take by themselves.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};
use rustix::io::{FdFlags, fcntl_setfd};
use virshle_core::net::NetError;
use virshle_core::net::ovsdb::{
    Address, Client, Condition, MonitorRequest, Mutation, Mutator, Operation, Row, Value,
};

use crate::program;
use crate::sample::timed;
use virshle_testkit::{Failure, While, ensure};

const DATABASE: &str = "Open_vSwitch";
/// How long the database and the switch may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Any process: `true`, from spawn to exit.
pub(crate) fn process() -> Result<Duration, Failure> {
    program::time(&mut Command::new("true"))
}

/// Reading as many small files.
pub(crate) fn read_files(paths: &[PathBuf]) -> Result<Duration, Failure> {
    timed(|| {
        for path in paths {
            std::hint::black_box(fs::read(path).doing(|| path.display().to_string())?);
        }
        Ok(())
    })
}

/// A small new file that outlasts a power failure: one fsync.
pub(crate) fn durable_file(path: &Path) -> Result<Duration, Failure> {
    let failed = || format!("cannot write {}", path.display());
    timed(|| {
        let mut file = File::create_new(path).doing(failed)?;
        file.write_all(&[b'x'; 300]).doing(failed)?;
        file.sync_all().doing(failed)
    })
}

/// Copying the data of a file without its holes, durably.
pub(crate) fn copy_extents(from: &Path, to: &Path) -> Result<Duration, Failure> {
    let failed = || format!("cannot copy {}", from.display());
    timed(|| {
        let source = File::open(from).doing(failed)?;
        let length = source.metadata().doing(failed)?.len();
        let copy = File::create_new(to).doing(failed)?;
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while let Ok(start) = seek(&source, SeekFrom::Data(at)) {
            at = start;
            let end = seek(&source, SeekFrom::Hole(start)).doing(failed)?;
            while at < end {
                let room = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                let read = source.read_at(&mut buffer[..room], at).doing(failed)?;
                ensure!(read > 0, "{} was cut short", from.display());
                copy.write_all_at(&buffer[..read], at).doing(failed)?;
                at += read as u64;
            }
        }
        copy.set_len(length).doing(failed)?;
        copy.sync_all().doing(failed)
    })
}

/// cloud-hypervisor alone, from its exec until `vm.boot` is answered.
///
/// It gets its socket as `v` hands it over, logs as `v` lets it log, and boots the same machine.
#[derive(Debug)]
pub(crate) struct BareVmm {
    directory: PathBuf,
    config: String,
}

impl BareVmm {
    /// Of the machine whose configuration `v vm config --vmm` printed; its files are in `directory`.
    pub(crate) fn new(directory: &Path, config: &str) -> Result<Self, Failure> {
        let mut config: serde_json::Value =
            serde_json::from_str(config).doing(|| "the configuration of a machine".to_owned())?;
        config["vsock"]["socket"] = directory.join("bare.vsock").display().to_string().into();
        // The networks' floor is the same: it has none.
        config["net"] = serde_json::json!([]);
        Ok(Self { directory: directory.to_owned(), config: config.to_string() })
    }

    pub(crate) fn boot(&self) -> Result<Duration, Failure> {
        let failed = || "cannot run cloud-hypervisor".to_owned();
        let file = |name: &str| self.directory.join(name);
        let socket = file("bare.sock");
        for path in [&socket, &file("bare.vsock")] {
            // Left behind by the round before; absent at the first.
            drop(fs::remove_file(path));
        }
        let started = Instant::now();
        let listener = UnixListener::bind(&socket).doing(failed)?;
        fcntl_setfd(&listener, FdFlags::empty()).doing(failed)?;
        let log = File::create(file("bare.log")).doing(failed)?;
        let child = Command::new("cloud-hypervisor")
            .arg("--api-socket")
            .arg(format!("fd={}", listener.as_raw_fd()))
            .arg("--event-monitor")
            .arg(format!("path={}", file("bare.events").display()))
            .arg("-v")
            .stdin(Stdio::null())
            .stdout(log.try_clone().doing(failed)?)
            .stderr(log)
            .spawn()
            .doing(failed)?;
        let _child = Ended(child);
        drop(listener);
        let mut stream = UnixStream::connect(&socket).doing(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).doing(failed)?;
        ask(&mut stream, "GET", "vmm.ping", "")?;
        ask(&mut stream, "PUT", "vm.create", &self.config)?;
        ask(&mut stream, "PUT", "vm.boot", "")?;
        Ok(started.elapsed())
    }
}

/// A child that is killed when this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A request, and its answer, which has to be a good one.
pub(crate) fn ask(
    stream: &mut UnixStream,
    method: &str,
    what: &str,
    body: &str,
) -> Result<String, Failure> {
    let failed = || format!("{what} was not answered");
    let mut request = format!("{method} /api/v1/{what} HTTP/1.1\r\nHost: localhost\r\n");
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).doing(failed)?;
    let mut answer = Vec::new();
    let mut room = [0; 8192];
    loop {
        let read = stream.read(&mut room).doing(failed)?;
        ensure!(read > 0, "{}", failed());
        answer.extend_from_slice(&room[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        if body.len() >= length {
            ensure!(text.starts_with("HTTP/1.1 20"), "{what}: {text}");
            return Ok(text.into_owned());
        }
    }
}

/// Asks each of the VMMs at `sockets` what its machine does.
pub(crate) fn ask_all(sockets: &[PathBuf]) -> Result<Duration, Failure> {
    timed(|| {
        for socket in sockets {
            let mut stream = UnixStream::connect(socket).doing(|| socket.display().to_string())?;
            ask(&mut stream, "GET", "vm.info", "")?;
        }
        Ok(())
    })
}

/// What is waited for when a port is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The database's answer to what comes after: by then it has the port.
    No,
    /// The switch's confirmation of the port.
    Yes,
}

/// The least that makes a port of `interface`: one transaction, and what is waited for.
pub(crate) fn port(address: &Address, interface: &Row, wait: Wait) -> Result<(), NetError> {
    let mut client = Client::connect(address, PATIENCE)?;
    let mut port = Row::from([("name".into(), interface["name"].clone())]);
    port.insert("interfaces".into(), Value::named("i"));
    let outcomes = client.transact(
        DATABASE,
        &[
            Operation::insert("Interface", interface).named("i"),
            Operation::insert("Port", &port).named("p"),
            Operation::mutate(
                "Bridge",
                &[Condition::name("br0")],
                [Mutation::insert("ports", Value::named("p"))],
            ),
            Operation::mutate(DATABASE, &[], [Mutation::new("next_cfg", Mutator::Add, 1)]),
            Operation::select(DATABASE, &[], &["next_cfg"]),
        ],
    )?;
    if wait == Wait::No {
        let next = Operation::select(DATABASE, &[], &["dpdk_initialized"]);
        return client.transact(DATABASE, &[next]).map(drop);
    }
    let target = outcomes
        .last()
        .and_then(|outcome| outcome.rows.first()?.get("next_cfg")?.as_i64())
        .unwrap_or_default();
    let tables = [(DATABASE, MonitorRequest::new(&["cur_cfg"]))];
    let mut update = Some(client.monitor(DATABASE, "bench", tables)?);
    while let Some(news) = update {
        let reached = news.rows(DATABASE).any(|(_, change)| {
            change
                .row()
                .and_then(|row| row.get("cur_cfg")?.as_i64())
                .is_some_and(|number| number >= target)
        });
        if reached {
            break;
        }
        update = client.next_update(PATIENCE)?;
    }
    Ok(())
}
