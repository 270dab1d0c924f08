//! Processes that are found, ended, gone.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use virshle_hypervisor::{HypervisorError, PayloadConfig, Vmm};
use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::machine::{Machine, SOON, launch, program, small};

#[test_on(Ch, Kvm)]
fn ch_a_killed_process_is_not_found_and_can_be_started_again() {
    let machine = Machine::start();
    let socket = machine.vmm.api_socket();
    let found = Vmm::find(socket, &program()).unwrap().unwrap();
    assert_eq!(found.pid(), machine.vmm.pid());
    assert!(!found.wait_exit(Duration::ZERO));
    found.kill().unwrap();
    assert!(found.wait_exit(SOON));
    assert!(machine.vmm.wait_exit(Duration::ZERO));
    assert!(socket.exists());
    assert!(Vmm::find(socket, &program()).unwrap().is_none());
    // Signals to a process that is gone are lost, and aren't errors.
    found.kill().unwrap();
    assert!(found.terminate(Duration::ZERO).unwrap());

    let again = launch(machine.directory.path()).spawn().unwrap();
    assert_ne!(again.pid(), machine.vmm.pid());
    assert!(again.terminate(SOON).unwrap());
}

#[test_on(Ch, Kvm)]
fn ch_processes_of_a_root_are_found_without_their_sockets() {
    let machine = Machine::start();
    let other = Machine::start();
    std::fs::remove_file(machine.vmm.api_socket()).unwrap();
    assert!(Vmm::find(machine.vmm.api_socket(), &program()).unwrap().is_none());
    let found = Vmm::all_under(machine.directory.path()).unwrap();
    let pids: Vec<_> = found.iter().map(Vmm::pid).collect();
    assert_eq!(pids, [machine.vmm.pid()]);
    assert_eq!(found[0].api_socket(), machine.vmm.api_socket());
    found[0].kill().unwrap();
    assert!(machine.vmm.wait_exit(SOON));
    assert!(!other.vmm.wait_exit(Duration::ZERO));
    assert!(Vmm::all_under(machine.directory.path()).unwrap().is_empty());
}

#[test_on(Ch, Kvm)]
fn ch_a_stopped_process_is_found_and_can_be_killed() {
    let machine = Machine::start();
    let pid = i32::try_from(machine.vmm.pid()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // The threads stop one by one.
    let tasks = format!("/proc/{}/task", machine.vmm.pid());
    let deadline = Instant::now() + SOON;
    while !std::fs::read_dir(&tasks).unwrap().all(|task| {
        std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap().contains(") T ")
    }) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let found = Vmm::find(machine.vmm.api_socket(), &program()).unwrap().unwrap();
    let error = found.client(Duration::from_millis(100)).ping().unwrap_err();
    assert!(error.timed_out(), "{error:?}");
    assert!(!found.terminate(Duration::from_millis(100)).unwrap());
    found.kill().unwrap();
    assert!(found.wait_exit(SOON));
}

/// The socket that [`root_a_process_of_another_namespace_is_foreign`] hands to itself.
const FOREIGN_SOCKET: &str = "VIRSHLE_TEST_FOREIGN_SOCKET";

/// A wrapper that can't express a process id of 0 took this one for an answer that never came.
#[test_on(Root)]
fn root_a_process_of_another_namespace_is_foreign() {
    if let Some(socket) = std::env::var_os(FOREIGN_SOCKET) {
        let found = Vmm::find(Path::new(&socket), &program());
        assert!(matches!(found, Err(HypervisorError::Foreign { pid: 0, .. })), "{found:?}");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let output = Command::new("unshare")
        .args(["--pid", "--fork"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "vmm::root_a_process_of_another_namespace_is_foreign", "--ignored"])
        .env(FOREIGN_SOCKET, &socket)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

/// Regression: the first example, with a kernel that isn't there, left a process behind.
#[test_on(Ch, Kvm)]
fn ch_a_start_that_fails_half_way_leaves_no_process_unless_it_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let start = |kernel: Option<PayloadConfig>| -> Result<Vmm, HypervisorError> {
        let vmm = launch(directory.path()).spawn()?.kill_on_drop();
        let mut config = small(directory.path(), &TestKernel::halt());
        config.payload = kernel.or(config.payload);
        let client = vmm.client(SOON);
        client.create(&config)?;
        client.boot()?;
        Ok(vmm.keep())
    };
    let error = start(Some(PayloadConfig::kernel(directory.path().join("nowhere")))).unwrap_err();
    assert!(matches!(error, HypervisorError::Refused { .. }), "{error:?}");
    assert!(Vmm::all_under(directory.path()).unwrap().is_empty());
    // What was killed left it behind.
    drop(std::fs::remove_file(directory.path().join("ch.vsock")));
    let vmm = start(None).unwrap();
    assert!(!vmm.wait_exit(Duration::from_millis(200)));
    // By a panic as well.
    let guard = vmm.kill_on_drop();
    assert!(std::panic::catch_unwind(move || panic!("process {}", guard.pid())).is_err());
    assert!(Vmm::all_under(directory.path()).unwrap().is_empty());
    // One that has ended already.
    let guard = launch(directory.path()).spawn().unwrap().kill_on_drop();
    assert!(guard.terminate(SOON).unwrap());
    drop(guard);
}
