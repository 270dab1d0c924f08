//! Network interfaces on real devices and sockets.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use virshle_hypervisor::{NetConfig, VhostMode, VmState};
use virshle_testkit::{TestKernel, TestTap};
use virshle_testkit_macros::test_on;

use crate::machine::{IN_TIME, Machine, SOON};

#[test_on(Ch, Kvm, Root)]
fn kvm_a_passed_tap_is_the_machines_over_reboots() {
    let machine = Machine::start();
    let tap = TestTap::create().unwrap();
    let client = machine.client();
    client.create(&machine.config(&TestKernel::halt())).unwrap();
    let net = NetConfig::descriptors(1).id("main").mac("52:54:00:00:00:01");
    assert_eq!(client.add_net_with_fds(&net, &[tap.as_fd()]).unwrap(), None);
    let name = tap.name().to_owned();
    // The machine has a copy of its own.
    drop(tap);
    client.boot().unwrap();
    let carrier = |name: &str| std::fs::read_to_string(format!("/sys/class/net/{name}/tun_flags"));
    assert!(carrier(&name).is_ok());
    let info = client.info().unwrap();
    assert_eq!(info.state, VmState::Running);
    assert_eq!(info.config.net[0].mac.as_deref(), Some("52:54:00:00:00:01"));
    assert_eq!(info.config.net[0].tap, None);
    client.reboot().unwrap();
    client.shutdown_vm().unwrap();
    client.boot().unwrap();
    assert!(client.counters().unwrap()["main"].contains_key("rx_bytes"));
    client.shutdown_vmm().unwrap();
    assert!(machine.vmm.wait_exit(SOON));
    assert!(carrier(&name).is_err(), "the tap stays");
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_tap_is_plugged_into_a_running_machine() {
    let machine = Machine::start();
    let tap = TestTap::create().unwrap();
    let client = machine.boot(&machine.config(&TestKernel::halt()));
    let net = NetConfig::descriptors(1).id("late").offloads(false);
    let added = client.add_net_with_fds(&net, &[tap.as_fd()]).unwrap().unwrap();
    assert_eq!(added.id, "late");
    assert!(client.info().unwrap().device_tree.contains_key("late"));
}

#[test_on(Ch, Kvm)]
fn kvm_a_boot_without_its_vhost_user_peer_ends_at_the_deadline() {
    let machine = Machine::start();
    let socket = machine.path("net.sock");
    let mut config = machine.config(&TestKernel::halt());
    config.memory = config.memory.shared(true);
    let config = config.net(NetConfig::vhost_user(&socket, VhostMode::Server));
    let client = machine.client();
    client.create(&config).unwrap();
    let pending = client.start_boot().unwrap();
    let before = Instant::now();
    let error = pending.wait(Duration::from_millis(300)).unwrap_err();
    assert!(error.timed_out(), "{error:?}");
    assert!(error.hint().unwrap().contains("vhost-user"), "{error:?}");
    assert!(before.elapsed() < IN_TIME);
    assert!(socket.exists());
    // Neither a ping nor SIGTERM is answered.
    assert!(machine.vmm.client(Duration::from_millis(100)).ping().unwrap_err().timed_out());
    assert!(!machine.vmm.terminate(Duration::from_millis(100)).unwrap());
    machine.vmm.kill().unwrap();
    assert!(machine.vmm.wait_exit(SOON));
}

#[test_on(Ch, Kvm)]
fn kvm_vhost_user_without_shared_memory_is_refused_at_boot() {
    let machine = Machine::start();
    let net = NetConfig::vhost_user(machine.path("net.sock"), VhostMode::Server);
    let client = machine.client();
    client.create(&machine.config(&TestKernel::halt()).net(net)).unwrap();
    let error = client.boot().unwrap_err();
    assert!(error.hint().unwrap().contains("shared memory"), "{error:?}");
}
