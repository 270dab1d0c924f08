//! Confined machines: they work, and reach nothing else.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use virshle_hypervisor::{
    ConsoleConfig, DiskConfig, ImageType, LandlockAccess, LandlockRule, NetConfig, VhostMode,
    VmState, VsockConfig, landlock_abi, landlock_available,
};
use virshle_testkit::{TestKernel, TestTap};
use virshle_testkit_macros::test_on;

use crate::machine::{Machine, SOON};
use crate::qcow2::{empty, over};

#[test]
fn the_kernels_landlock_is_asked_for_its_version() {
    let abi = landlock_abi();
    assert_eq!(landlock_available(), abi.is_some_and(|abi| abi >= 3));
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_confined_machine_boots_reboots_and_opens_nothing_else() {
    if !landlock_available() {
        return;
    }
    let machine = Machine::start();
    let disk = machine.path("disk");
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = elsewhere.path().join("foreign");
    std::fs::File::create(&foreign).unwrap().set_len(1 << 20).unwrap();
    let serial = machine.path("serial.sock");
    let tap = TestTap::create().unwrap();
    let config = machine
        .config(&TestKernel::obeys())
        .disk(DiskConfig::new(&disk, ImageType::Raw))
        .serial(ConsoleConfig::socket(&serial))
        .vsock(VsockConfig::new(3, machine.path("vsock")))
        .confined([]);
    let client = machine.client();
    client.create(&config).unwrap();
    client.add_net_with_fds(&NetConfig::descriptors(1).id("main"), &[tap.as_fd()]).unwrap();
    client.boot().unwrap();
    client.reboot().unwrap();
    let mut stream = UnixStream::connect(&serial).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut ready = [0; 6];
    stream.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    stream.write_all(b"x").unwrap();

    let error = client.add_disk(&DiskConfig::new(&foreign, ImageType::Raw)).unwrap_err();
    assert!(matches!(error, virshle_hypervisor::HypervisorError::Refused { .. }), "{error:?}");
    let causes = crate::machine::chain(&error).join(": ");
    assert!(causes.contains("ermission denied"), "{causes}");
    client.power_button().unwrap();
    assert!(machine.vmm.wait_exit(SOON));
}

#[test_on(Ch, Kvm)]
fn kvm_a_confined_machine_needs_a_rule_for_its_backing_file() {
    if !landlock_available() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let base = cache.path().join("base.qcow2");
    std::fs::write(&base, empty()).unwrap();
    let boot = |rules: Vec<LandlockRule>| {
        let machine = Machine::start();
        let disk = machine.path("disk");
        std::fs::write(&disk, over(&base)).unwrap();
        let disk = DiskConfig::new(&disk, ImageType::Qcow2).backing_files(true);
        let config = machine.config(&TestKernel::halt()).disk(disk).confined(rules);
        let client = machine.client();
        client.create(&config).unwrap();
        client.boot().and_then(|()| client.info()).map(|info| info.state)
    };
    assert!(boot(Vec::new()).is_err());
    let rule = LandlockRule::new(&base, LandlockAccess::Read);
    assert_eq!(boot(vec![rule]).unwrap(), VmState::Running);
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_confined_machine_reads_its_named_tap_and_creates_its_vhost_user_socket() {
    if !landlock_available() {
        return;
    }
    let tap = PersistentTap::create();
    let machine = Machine::start();
    let config = machine.config(&TestKernel::halt()).net(NetConfig::tap(&tap.0)).confined([]);
    machine.boot(&config);
    drop(machine);

    let machine = Machine::start();
    let socket = machine.path("net/main.sock");
    std::fs::create_dir(machine.path("net")).unwrap();
    let mut config = machine.config(&TestKernel::halt());
    config.memory = config.memory.shared(true);
    let config = config.net(NetConfig::vhost_user(&socket, VhostMode::Server)).confined([]);
    let client = machine.client();
    client.create(&config).unwrap();
    // It waits for its peer, which has to be refused by a timeout and not by landlock.
    let error = client.within(std::time::Duration::from_millis(500)).boot().unwrap_err();
    assert!(error.timed_out() && socket.exists(), "{error:?}");
}

/// A tap that no process holds, created by `ip` and removed by it.
struct PersistentTap(String);

impl PersistentTap {
    fn create() -> Self {
        let tap = Self(format!("vp{}", std::process::id()));
        assert!(tap.ip("add"));
        tap
    }

    fn ip(&self, verb: &str) -> bool {
        let mut command = std::process::Command::new("ip");
        command.args(["tuntap", verb, "dev", &self.0, "mode", "tap"]);
        if verb == "add" {
            command.arg("vnet_hdr");
        }
        command.status().unwrap().success()
    }
}

impl Drop for PersistentTap {
    fn drop(&mut self) {
        assert!(self.ip("del") || std::thread::panicking());
    }
}
