//! The command line against the program that reads it.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::json;
use virshle_hypervisor::{
    Client, ConsoleConfig, DiskConfig, HotplugMethod, ImageType, LandlockAccess, LandlockRule,
    NetConfig, PlatformConfig, VhostMode, VmConfig, VmState, VsockConfig,
};
use virshle_testkit::{TestKernel, TestTap};
use virshle_testkit_macros::test_on;

use crate::machine::{Machine, SOON, program};
use crate::qcow2::empty;

struct Foreground(Child);

impl Drop for Foreground {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What cloud-hypervisor makes of a configuration, by its API and by its command line.
fn both(machine: &Machine, config: &VmConfig) -> (VmConfig, VmConfig) {
    let client = machine.client();
    client.create(config).unwrap();
    client.boot().unwrap();
    let by_api = client.info().unwrap().config;
    client.shutdown_vmm().unwrap();
    assert!(machine.vmm.wait_exit(SOON));
    // It is in the way of the second machine, see the facts on vm.create and serial sockets.
    drop(std::fs::remove_file(machine.path("serial.sock")));

    let socket = machine.path("by hand.sock");
    let line = config.command_line(&program(), &socket);
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    let errors = std::fs::File::create(machine.path("by-hand.log")).unwrap();
    let mut child = Foreground(command.stderr(errors).spawn().unwrap());
    let deadline = Instant::now() + SOON;
    // The program makes its socket in its own time, and the machine after it; nothing announces it.
    let by_hand = loop {
        let info = Client::connect(&socket, SOON).and_then(|client| client.info());
        match info {
            Ok(info) if info.state == VmState::Running => break info.config,
            error => {
                let log = || std::fs::read_to_string(machine.path("by-hand.log")).unwrap();
                let ended = child.0.try_wait().unwrap();
                assert!(ended.is_none(), "{ended:?} {line:?} {}", log());
                assert!(Instant::now() < deadline, "{error:?} {line:?} {}", log());
                std::thread::yield_now();
            }
        }
    };
    (by_api, by_hand)
}

#[test_on(Ch, Kvm, Root)]
fn kvm_the_command_line_starts_the_same_machine() {
    let machine = Machine::start();
    let disk = machine.path("odd, [name]");
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let tap = TestTap::create().unwrap();
    // A tap of one queue is one process's: here its name counts.
    let name = tap.name().to_owned();
    drop(tap);
    let mut config = machine.config(&TestKernel::halt());
    config.payload = config.payload.map(|payload| payload.cmdline("console=ttyS0 a=\"b c\""));
    config.cpus = config.cpus.max(2);
    config.memory = config.memory.shared(true).hotplug(HotplugMethod::VirtioMem, 128 << 20);
    let mut limited = DiskConfig::new(&disk, ImageType::Raw).id("os").serial("os").readonly(true);
    let limits = json!({"bandwidth": {"size": 1000, "one_time_burst": 0, "refill_time": 100}});
    limited.extra.insert("rate_limiter_config".into(), limits);
    let config = config
        .disk(limited)
        .net(NetConfig::tap(&name).id("main").mac("52:54:00:00:00:01").offloads(false))
        .serial(ConsoleConfig::socket(machine.path("serial.sock")))
        .console(ConsoleConfig::file(machine.path("console.log")))
        .vsock(VsockConfig::new(3, machine.path("vsock")))
        .platform(
            PlatformConfig::default()
                .system_uuid("0b9c1a56-6e1d-4c4e-8a55-0d3b6b1a7a11")
                .oem_string("io.systemd.credential:a=b"),
        )
        .extra("watchdog", json!(true))
        .extra("balloon", json!({"size": 1 << 20, "deflate_on_oom": true}))
        .extra("pvpanic", json!(true));
    let (by_api, by_hand) = both(&machine, &config);
    assert_eq!(json(&by_api), json(&by_hand));
}

#[test_on(Ch, Kvm)]
fn kvm_the_command_line_confines_the_same_machine() {
    if !virshle_hypervisor::landlock_available() {
        return;
    }
    let machine = Machine::start();
    let mut config = machine.config(&TestKernel::halt());
    config.memory = config.memory.shared(true);
    let rule = LandlockRule::new("/etc/hostname", LandlockAccess::Read);
    let disk = machine.path("disk.qcow2");
    std::fs::write(&disk, empty()).unwrap();
    let config = config.disk(DiskConfig::new(&disk, ImageType::Qcow2).backing_files(true));
    let (by_api, by_hand) = both(&machine, &config.confined([rule]));
    assert_eq!(json(&by_api), json(&by_hand));
}

#[test_on(Ch, Kvm)]
fn kvm_the_command_line_waits_at_a_vhost_user_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("net.sock");
    let mut config = crate::machine::small(directory.path(), &TestKernel::halt());
    config.memory = config.memory.shared(true);
    let config = config.net(NetConfig::vhost_user(&socket, VhostMode::Server).mtu_bytes(1500));
    let line = config.command_line(&program(), &directory.path().join("ch.sock"));
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = Foreground(command.spawn().unwrap());
    let deadline = Instant::now() + SOON;
    while !socket.exists() {
        assert!(child.0.try_wait().unwrap().is_none(), "{line:?}");
        assert!(Instant::now() < deadline, "{line:?}");
        std::thread::yield_now();
    }
}

fn json(config: &VmConfig) -> String {
    let mut config = config.clone();
    for net in &mut config.net {
        // That of the tap, which is created again each time.
        net.extra.remove("host_mac");
    }
    serde_json::to_string_pretty(&config).unwrap()
}
