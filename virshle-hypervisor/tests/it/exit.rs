//! Runs that end in every way there is.

use std::io::Write;
use std::os::unix::net::UnixStream;

use virshle_hypervisor::{ConsoleConfig, EventReader, ExitReason, Verbosity, read_events};
use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::machine::{Machine, SOON, launch};

#[test_on(Ch, Kvm)]
fn ch_an_end_by_api_or_signal_is_the_hosts() {
    // The last events may be lost, and nothing else is left of a process without a machine.
    let is_right = |reason| matches!(reason, ExitReason::HostShutdown | ExitReason::Unknown);
    let machine = Machine::start();
    machine.client().shutdown_vmm().unwrap();
    assert!(is_right(machine.exit_reason()));

    let machine = Machine::start();
    assert!(machine.vmm.terminate(SOON).unwrap());
    assert!(is_right(machine.exit_reason()));
}

#[test_on(Ch, Kvm)]
fn kvm_a_guest_that_powers_off_differs_from_one_that_is_cut_off() {
    let machine = Machine::start();
    machine.boot(&machine.config(&TestKernel::power_off()));
    assert_eq!(machine.exit_reason(), ExitReason::GuestPowerOff);

    // At the level at which the log tells.
    let directory = tempfile::tempdir().unwrap();
    let vmm = launch(directory.path()).verbosity(Verbosity::Info).spawn().unwrap();
    let machine = Machine { directory, vmm };
    machine.boot(&machine.config(&TestKernel::halt()));
    assert!(machine.vmm.terminate(SOON).unwrap());
    assert_eq!(machine.exit_reason(), ExitReason::HostShutdown);
}

#[test_on(Ch, Kvm)]
fn kvm_a_vcpu_that_fails_and_a_kill_are_crashes() {
    let machine = Machine::start();
    machine.boot(&machine.config(&TestKernel::breaks()));
    assert_eq!(machine.exit_reason(), ExitReason::Crashed, "{}", machine.log());

    let machine = Machine::start();
    machine.boot(&machine.config(&TestKernel::halt()));
    // What its events don't show yet is lost with it.
    let mut events = EventReader::open(&machine.path("events.json")).unwrap();
    while !events.read_new().unwrap().iter().any(|event| event.is("vm", "booted")) {
        std::thread::yield_now();
    }
    machine.vmm.kill().unwrap();
    assert_eq!(machine.exit_reason(), ExitReason::Crashed);
}

#[test_on(Ch, Kvm)]
fn kvm_the_power_button_ends_in_a_power_off_by_the_guest() {
    let machine = Machine::start();
    let client = machine.boot(&machine.config(&TestKernel::obeys()));
    client.power_button().unwrap();
    assert_eq!(machine.exit_reason(), ExitReason::GuestPowerOff);
}

#[test_on(Ch, Kvm)]
fn kvm_a_guest_that_reboots_stays_in_its_process_and_is_in_the_events() {
    let machine = Machine::start();
    let serial = machine.path("serial.sock");
    let config = machine.config(&TestKernel::obeys()).serial(ConsoleConfig::socket(&serial));
    let client = machine.boot(&config);
    let mut events = EventReader::open(&machine.path("events.json")).unwrap();
    let mut all = Vec::new();
    for command in *b"RTP" {
        let mut stream = UnixStream::connect(&serial).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        wait_for(&mut stream, b"ready\n");
        stream.write_all(&[command]).unwrap();
        wait_for(&mut stream, &[command]);
        if command == b'P' {
            break;
        }
        // The guest asks for the reboot after its echo, and the events are the only ones to show it
        // when it is done.
        let deadline = std::time::Instant::now() + SOON;
        let mut rebooted = false;
        while !rebooted {
            let new = events.read_new().unwrap();
            rebooted = new.iter().any(|event| event.is("vm", "rebooted"));
            all.extend(new);
            assert!(std::time::Instant::now() < deadline, "{}", machine.log());
            std::thread::yield_now();
        }
        assert_eq!(client.ping().unwrap().pid, Some(machine.vmm.pid().into()));
    }
    assert_eq!(machine.exit_reason(), ExitReason::GuestPowerOff, "{}", machine.log());
    assert!(all.iter().any(|event| event.is("vm", "booted")));
    assert!(read_events(&machine.path("events.json")).unwrap().starts_with(&all));
    assert_eq!(all.iter().filter(|event| event.is("vm", "rebooted")).count(), 2);
    assert!(all.is_sorted_by_key(|event| event.timestamp));
}

/// Regression: 2 MB of log a second, for as long as the guest liked.
#[test_on(Ch, Kvm)]
fn kvm_a_guest_that_pokes_at_nothing_leaves_no_line() {
    let size = |machine: &Machine| std::fs::metadata(machine.path("ch.log")).unwrap().len();
    let run = |verbosity| {
        let directory = tempfile::tempdir().unwrap();
        let vmm = launch(directory.path()).verbosity(verbosity).spawn().unwrap();
        let machine = Machine { directory, vmm };
        machine.boot(&machine.config(&TestKernel::pokes()));
        machine
    };
    // At the level that has a line for each it shows how long this takes.
    let (verbose, start) = (run(Verbosity::Info), std::time::Instant::now());
    while size(&verbose) < 256 << 10 {
        assert!(start.elapsed() < SOON, "{}", verbose.log());
        std::thread::yield_now();
    }
    let took = start.elapsed();
    drop(verbose);
    let machine = run(Verbosity::default());
    assert!(!machine.vmm.wait_exit(2 * took));
    assert!(size(&machine) < 4 << 10, "{}", machine.log());
}

fn wait_for(stream: &mut UnixStream, expected: &[u8]) {
    use std::io::Read;
    let mut seen = Vec::new();
    while !seen.ends_with(expected) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
}
