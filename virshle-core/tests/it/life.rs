//! The life of a machine on real cloud-hypervisor, without a network.

use std::fs;
use std::time::Duration;

use virshle_core::hypervisor::Client;
use virshle_core::{
    Change, CoreError, ErrorKind, FileError, Force, LastExit, MachineError, StartError, StopError,
    StopRequest, Vm, VmState,
};
use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::lab::{DISK, LEAST, Lab, patient};

/// Only what has gone wrong takes that long, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(120);

fn start(vm: &Vm) -> Result<Change, CoreError> {
    Ok(vm.start(&patient())?)
}

/// A machine of a node of its own, its guest `kernel`, and it runs.
fn running(config: &str, kernel: &TestKernel) -> (Lab, Vm) {
    let lab = Lab::with_kernel(config, kernel);
    let vm = lab.create("xs");
    assert_eq!(start(&vm).unwrap(), Change::Done);
    (lab, vm)
}

/// Waits until the machine's process has ended by itself.
fn wait_until_stopped(vm: &Vm) {
    let program = vm.node().config().hypervisor.program.clone();
    let vmm = virshle_core::hypervisor::Vmm::find(&vm.api_socket(), &program).unwrap();
    if let Some(vmm) = vmm {
        assert!(vmm.wait_exit(PATIENCE), "it runs on");
    }
}

#[test_on(Ch, Kvm)]
fn ch_a_machine_starts_pauses_resumes_and_is_cut_off() {
    let lab = Lab::new(DISK);
    let vm = lab.create("xs");
    assert_eq!(start(&vm).unwrap(), Change::Done);
    assert_eq!(vm.state(), VmState::Running);
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);
    let info = vm.info();
    assert!(info.pid.is_some() && info.last_exit.is_none(), "{info:?}");
    assert_eq!(vm.pause().unwrap(), Change::Done);
    assert_eq!(vm.pause().unwrap(), Change::Unchanged);
    assert_eq!(vm.state(), VmState::Paused);
    assert_eq!(start(&vm).unwrap_err().kind(), ErrorKind::State);
    assert_eq!(vm.resume().unwrap(), Change::Done);
    assert_eq!(CoreError::from(vm.remove(Force::No).unwrap_err()).kind(), ErrorKind::State);
    assert_eq!(vm.stop(&StopRequest::force()).unwrap(), Change::Done);
    assert_eq!(vm.stop(&StopRequest::force()).unwrap(), Change::Unchanged);
    assert_eq!(vm.info().last_exit, Some(LastExit::Forced));
    lab.assert_no_orphans();
    assert_eq!(start(&vm).unwrap(), Change::Done);
    vm.remove(Force::Yes).unwrap();
    assert_eq!(lab.machine_folders(), Vec::<String>::new());
    lab.assert_no_orphans();
}

#[test_on(Ch, Kvm)]
fn ch_a_guest_that_obeys_its_power_button_is_stopped() {
    let (lab, vm) = running(LEAST, &TestKernel::obeys());
    vm.stop(&StopRequest::power_button(PATIENCE)).unwrap();
    assert_eq!(vm.state(), VmState::Stopped);
    assert_eq!(vm.info().last_exit, Some(LastExit::Stopped));
    lab.assert_no_orphans();
}

#[test_on(Ch, Kvm)]
fn ch_a_guest_that_ignores_its_power_button_runs_on() {
    let (_lab, vm) = running(LEAST, &TestKernel::halt());
    let request = StopRequest::power_button(Duration::from_millis(300));
    let error = CoreError::from(vm.stop(&request).unwrap_err());
    assert!(matches!(error, CoreError::Stop(StopError::StillRunning { .. })), "{error:?}");
    assert_eq!(vm.state(), VmState::Running);
    vm.stop(&StopRequest::force()).unwrap();
    assert_eq!(vm.info().last_exit, Some(LastExit::Forced));
}

#[test_on(Ch, Kvm)]
fn ch_how_a_run_ended_is_reported() {
    let (_lab, vm) = running(LEAST, &TestKernel::power_off());
    wait_until_stopped(&vm);
    assert_eq!(vm.info().last_exit, Some(LastExit::Guest));

    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    assert_eq!(vm.info().last_exit, None);
    start(&vm).unwrap();
    let program = vm.node().config().hypervisor.program.clone();
    let vmm = virshle_core::hypervisor::Vmm::find(&vm.api_socket(), &program).unwrap().unwrap();
    vmm.kill().unwrap();
    wait_until_stopped(&vm);
    assert_eq!(vm.state(), VmState::Stopped);
    assert_eq!(vm.info().last_exit, Some(LastExit::Crashed));
    // What the killed VMM left behind does not keep the machine from starting.
    assert_eq!(start(&vm).unwrap(), Change::Done);
    vm.stop(&StopRequest::force()).unwrap();
}

/// Regression: a start that was cut short stayed half done (5920310).
#[test_on(Ch, Kvm)]
fn ch_a_start_whose_starter_died_before_the_boot_is_done_again() {
    let (_lab, vm) = running(LEAST, &TestKernel::halt());
    let before = vm.info().pid;
    unfinish(&vm);
    client(&vm).shutdown_vm().unwrap();
    assert_eq!(vm.state(), VmState::Created);
    assert_eq!(start(&vm).unwrap(), Change::Done);
    assert_ne!(vm.info().pid, before);
    assert_eq!(vm.state(), VmState::Running);
    vm.stop(&StopRequest::force()).unwrap();
}

/// Regression: the next start cut the power of a guest that ran (5920310).
#[test_on(Ch, Kvm)]
fn ch_a_guest_whose_starter_died_after_the_boot_runs_on() {
    let (_lab, vm) = running(LEAST, &TestKernel::halt());
    let before = vm.info().pid;
    unfinish(&vm);
    assert_eq!(start(&vm).unwrap(), Change::Done);
    assert_eq!(vm.info().pid, before);
    // The note that was missing is there now.
    assert_eq!(start(&vm).unwrap(), Change::Unchanged);
    vm.stop(&StopRequest::force()).unwrap();
}

/// Takes the note away that a start was finished, as if the process that started it had died before.
fn unfinish(vm: &Vm) {
    let record = vm.directory().join("run.json");
    let text = fs::read_to_string(&record).unwrap().replace("started", "starting");
    fs::write(&record, text).unwrap();
}

fn client(vm: &Vm) -> virshle_core::hypervisor::Client {
    virshle_core::hypervisor::Client::connect(&vm.api_socket(), PATIENCE).unwrap()
}

#[test_on(Ch, Kvm)]
fn ch_a_failed_start_leaves_everything_as_it_was() {
    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    // It can be opened, and is no kernel: only the boot finds out.
    fs::write(lab.path("kernel"), "no kernel").unwrap();
    let error = start(&vm).unwrap_err();
    assert!(
        matches!(error, CoreError::Machine(MachineError::Hypervisor { doing: "boot", .. })),
        "{error:?}"
    );
    assert_eq!(vm.state(), VmState::Stopped);
    assert_eq!(vm.info().last_exit, None);
    lab.assert_no_orphans();
    fs::remove_file(lab.path("kernel")).unwrap();
    let error = start(&vm).unwrap_err();
    assert!(matches!(error, CoreError::Start(StartError::MissingFile { .. })), "{error:?}");
}

#[test_on(Kvm)]
fn kvm_a_missing_cloud_hypervisor_is_reported() {
    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    let mut config = lab.node.config().clone();
    config.hypervisor.program = "/nonexistent/cloud-hypervisor".into();
    let node = virshle_core::Node::new(config, Some(&lab.path("root")));
    let error = start(&node.vm(vm.definition().uuid).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Host, "{error:?}");
    lab.assert_no_orphans();
}

/// Regression: the vsock was beside `vm.toml`, in a directory that the VMM may write (f30fd75).
#[test_on(Ch, Kvm)]
fn ch_a_vmm_reaches_no_file_but_its_machines() {
    use virshle_core::hypervisor::{DiskConfig, ImageType, landlock_available};

    if !landlock_available() {
        return;
    }
    let lab = Lab::new(&DISK.replace("name = \"os\"", "name = \"os\"\nclone = \"overlay\""));
    let (vm, other) = (lab.create("xs"), lab.create("xs"));
    start(&vm).unwrap();
    // What a guest that has taken its VMM over would try. Its image it may read, and no more.
    let elsewhere = lab.path("elsewhere");
    fs::write(&elsewhere, vec![0; 1 << 20]).unwrap();
    let definition = vm.directory().join("vm.toml");
    let run = vm.directory().join("run.json");
    for path in [other.disk("os"), lab.path("image.raw"), elsewhere, definition, run] {
        let disk = DiskConfig::new(&path, ImageType::Raw).id("more");
        let error = client(&vm).add_disk(&disk).unwrap_err();
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let messages: Vec<String> = chain.map(ToString::to_string).collect();
        // What is in the machine's directory is kept from it by a rule; all else it does not even see.
        let said = messages.join(": ");
        assert!(
            ["ermission denied", "No such file"].iter().any(|error| said.contains(error)),
            "{}: {messages:?}",
            path.display()
        );
    }
    assert_eq!(vm.state(), VmState::Running);
    vm.stop(&StopRequest::force()).unwrap();
}

/// Regression: a forced removal whose rename failed left a stopped machine with its sockets (d889866).
#[test_on(Ch, Kvm)]
fn ch_a_removal_that_fails_leaves_a_machine_that_is_off() {
    let (lab, vm) = running(LEAST, &TestKernel::halt());
    // In the way of the rename, and another process is at work there.
    let gone = lab.path("root/vm").join(format!(".gone-{}", vm.definition().uuid));
    fs::create_dir(&gone).unwrap();
    let lock = fs::File::create(gone.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = CoreError::from(vm.remove(Force::Yes).unwrap_err());
    assert!(matches!(error, CoreError::File(FileError::Write { .. })), "{error:?}");
    assert_eq!(vm.state(), VmState::Stopped);
    assert_eq!(vm.info().last_exit, Some(LastExit::Forced));
    lab.assert_no_orphans();
    // Closing it is not enough: a program that another test starts has a copy until its exec(2).
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).unwrap();
    vm.remove(Force::No).unwrap();
    assert_eq!(lab.machine_folders(), Vec::<String>::new());
}

/// Regression: this test read a line before its end, 4 times of 190 under load (#12).
#[test_on(Ch, Kvm)]
fn ch_what_is_typed_reaches_the_guest_and_what_it_writes_is_kept() {
    let lab = Lab::with_kernel(LEAST, &TestKernel::echoes("hello\n"));
    let vm = lab.create("xs");
    assert_eq!(CoreError::from(vm.console().unwrap_err()).kind(), ErrorKind::State);
    start(&vm).unwrap();
    let until = |expected: &str| {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(vm.serial_log()).unwrap_or_default();
            if text.contains(expected) {
                return text;
            }
            assert!(std::time::Instant::now() < deadline, "{expected:?} not in {text:?}");
            std::thread::yield_now();
        }
    };
    until("hello\n");
    vm.console().unwrap().type_bytes(b"first").unwrap();
    until("first");
    // A console that is closed is nothing the guest notices, and a reboot keeps the log.
    vm.console().unwrap().type_bytes(b"second").unwrap();
    assert_eq!(until("second"), "hello\nfirstsecond");
    vm.stop(&StopRequest::force()).unwrap();
    start(&vm).unwrap();
    assert_eq!(until("hello\n"), "hello\n");
    let before = fs::read_to_string(vm.directory().join("serial.log.1")).unwrap();
    assert_eq!(before, "hello\nfirstsecond");
    vm.stop(&StopRequest::force()).unwrap();
}

/// Regression: every guest could run guests, and none could be denied it.
#[test_on(Ch, Kvm)]
fn ch_a_guest_runs_guests_only_if_its_template_lets_it() {
    let lab = Lab::new(&format!(
        "{LEAST}{}nested = true\n",
        LEAST.replace("name = \"xs\"", "name = \"nested\"")
    ));
    for (template, nested) in [("xs", false), ("nested", true)] {
        let vm = lab.create(template);
        let text = fs::read_to_string(vm.directory().join("vm.toml")).unwrap();
        assert_eq!(text.contains("nested = true"), nested, "{text}");
        assert_eq!(vm.info().nested, nested);
        vm.start(&patient()).unwrap();
        let timeout = Duration::from_secs(60);
        let client = Client::connect(&vm.api_socket(), timeout).unwrap();
        assert_eq!(client.info().unwrap().config.cpus.nested, Some(nested));
        vm.remove(Force::Yes).unwrap();
    }
}
