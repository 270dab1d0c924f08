//! What cloud-hypervisor says.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use virshle_hypervisor::{Client, read_events};

use crate::answering_machine::AnsweringMachine;

/// No deadline is meant to pass: the other side always hangs up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers of its API.
pub fn http(bytes: &[u8]) {
    static SERVER: OnceLock<AnsweringMachine> = OnceLock::new();
    let server = SERVER.get_or_init(AnsweringMachine::start);
    server.set_answer(bytes);
    let client = Client::connect(server.socket(), PATIENCE).unwrap();
    let results = [
        client.info().map(drop),
        client.ping().map(drop),
        client.counters().map(drop),
        client.pause(),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        assert!(!error.timed_out(), "{error:?}");
        assert!(!error.to_string().is_empty());
    }
}

/// The file of its events.
pub fn events(bytes: &[u8]) {
    let file = std::fs::File::from(memfd_create("events", MemfdFlags::CLOEXEC).unwrap());
    file.write_all_at(bytes, 0).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if let Err(error) = read_events(&path) {
        assert!(!error.to_string().is_empty());
    }
}
