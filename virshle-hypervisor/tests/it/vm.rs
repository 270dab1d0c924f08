//! The life of a machine.

use std::time::{Duration, Instant};

use virshle_hypervisor::{
    Client, ConsoleConfig, DiskConfig, ImageType, Launch, Restore, VmState, Vmm,
};
use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::machine::{Machine, SOON, chain, launch};

#[test_on(Ch, Kvm)]
fn kvm_a_machine_boots_pauses_resumes_and_boots_again() {
    let machine = Machine::start();
    let disk = machine.path("disk");
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let serial = machine.path("serial.log");
    let config = machine
        .config(&TestKernel::prints("hello, host\n"))
        .disk(DiskConfig::new(&disk, ImageType::Raw).id("os").serial("os"))
        .serial(ConsoleConfig::file(&serial));
    let client = machine.client();
    client.create(&config).unwrap();
    assert_eq!(client.info().unwrap().state, VmState::Created);
    client.boot().unwrap();
    let deadline = Instant::now() + SOON;
    while std::fs::read_to_string(&serial).unwrap() != "hello, host\n" {
        assert!(Instant::now() < deadline, "{:?}", std::fs::read(&serial));
        std::thread::yield_now();
    }
    let info = client.info().unwrap();
    assert_eq!(info.state, VmState::Running);
    assert_eq!(info.memory_actual_bytes, Some(64 << 20));
    assert_eq!(info.config.disks[0].serial.as_deref(), Some("os"));
    assert_eq!(info.config.disks[0].image_type, ImageType::Raw);
    assert!(info.device_tree.contains_key("os"));
    assert!(client.counters().unwrap()["os"].contains_key("read_bytes"));

    client.pause().unwrap();
    assert_eq!(client.info().unwrap().state, VmState::Paused);
    let twice = client.pause().unwrap_err();
    assert!(twice.to_string().contains("status 500"), "{twice}");
    client.resume().unwrap();
    assert_eq!(client.info().unwrap().state, VmState::Running);

    let second = machine.path("second");
    std::fs::File::create(&second).unwrap().set_len(1 << 20).unwrap();
    let added = client.add_disk(&DiskConfig::new(&second, ImageType::Raw).id("second")).unwrap();
    assert_eq!(added.unwrap().id, "second");
    client.remove_device("second").unwrap();

    client.reboot().unwrap();
    assert_eq!(client.info().unwrap().state, VmState::Running);
    client.shutdown_vm().unwrap();
    assert_eq!(client.info().unwrap().state, VmState::Created);
    client.boot().unwrap();
    assert_eq!(client.info().unwrap().state, VmState::Running);
    client.shutdown_vm().unwrap();
    client.delete().unwrap();
    client.delete().unwrap();
}

#[test_on(Ch, Kvm)]
fn kvm_a_halted_guest_takes_no_time_from_the_host() {
    let machine = Machine::start();
    machine.boot(&machine.config(&TestKernel::halt()));
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", machine.vmm.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks();
    assert!(!machine.vmm.wait_exit(Duration::from_millis(500)));
    assert!(ticks() - before < 10, "{} ticks in half a second", ticks() - before);
}

#[test_on(Ch, Kvm)]
fn kvm_a_disk_in_use_elsewhere_is_reported() {
    let first = Machine::start();
    let disk = first.path("disk");
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let with_disk = |machine: &Machine| {
        let config = machine.config(&TestKernel::halt());
        config.disk(DiskConfig::new(&disk, ImageType::Raw))
    };
    first.boot(&with_disk(&first));
    let second = Machine::start();
    second.client().create(&with_disk(&second)).unwrap();
    let error = second.client().boot().unwrap_err();
    assert_eq!(error.hint().unwrap(), "another process uses a disk of this machine", "{error:?}");
}

#[test_on(Ch, Kvm)]
fn kvm_a_snapshot_comes_up_in_another_process() {
    let machine = Machine::start();
    let client = machine.boot(&machine.config(&TestKernel::halt()));
    client.pause().unwrap();
    let snapshot = machine.path("snapshot");
    std::fs::create_dir(&snapshot).unwrap();
    if let Err(error) = client.snapshot(&snapshot) {
        // KVM can't give out a vCPU's state on some hosts that are machines themselves.
        assert!(chain(&error).join(" ").contains("GetNestedState"), "{error:?}");
        println!("skipped: this host's KVM makes no snapshots");
        return;
    }
    client.shutdown_vmm().unwrap();
    assert!(machine.vmm.wait_exit(SOON));

    let other = Machine::start();
    let client = other.client();
    client.restore(&Restore::new(&snapshot).unwrap().resume(true), &[]).unwrap();
    assert_eq!(client.info().unwrap().state, VmState::Running);
}

#[test_on(Ch, Kvm)]
fn kvm_no_shutdown_keeps_the_process_when_the_guest_powers_off() {
    let directory = tempfile::tempdir().unwrap();
    let vmm = launch(directory.path()).argument("--no-shutdown").spawn().unwrap();
    let machine = Machine { directory, vmm };
    let client = machine.boot(&machine.config(&TestKernel::power_off()));
    assert!(!machine.vmm.wait_exit(Duration::from_millis(200)));
    assert_eq!(client.info().unwrap().state, VmState::Created);
}

#[test_on(Ch, Kvm)]
fn ch_older_options_and_no_files_at_all_work() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("odd, name.sock");
    let vmm = Launch::new(&crate::machine::program(), &socket)
        .verbosity(virshle_hypervisor::Verbosity::Warn)
        .seccomp(virshle_hypervisor::Seccomp::Log)
        .working_folder(directory.path())
        .spawn()
        .unwrap();
    let machine = Machine { directory, vmm };
    Client::connect(&socket, SOON).unwrap().ping().unwrap();
    assert!(Vmm::find(&socket, &crate::machine::program()).unwrap().is_some());
    assert!(machine.vmm.terminate(SOON).unwrap());
}
