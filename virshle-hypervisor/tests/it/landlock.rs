//! Confined machines: they work, and reach nothing else.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use virshle_hypervisor::{
    ConsoleConfig, DiskConfig, ImageType, NetConfig, VsockConfig, landlock_abi, landlock_available,
};
use virshle_testkit::{Part, TestKernel, TestTap, need};

use crate::machine::{Machine, SOON};

#[test]
fn the_kernels_landlock_is_asked_for_its_version() {
    let abi = landlock_abi();
    assert_eq!(landlock_available(), abi.is_some_and(|abi| abi >= 3));
}

#[test]
#[ignore = "needs KVM, cloud-hypervisor and root"]
fn kvm_a_confined_machine_boots_reboots_and_opens_nothing_else() {
    if !need(&[Part::Ch, Part::Kvm, Part::Root]) || !landlock_available() {
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
