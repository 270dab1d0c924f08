//! What a guest that has taken over its VMM reaches: each thread of a machine that `v` started, as it
//! runs, is made to try.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use virshle_core::hypervisor::Client;
use virshle_core::template::{Config, UserRange};
use virshle_core::{
    ConfineError, Force, HardwareError, Node, Selection, StartError, StopRequest, Vm, VmState,
};
use virshle_testkit::{
    Attempt, MountNamespace, NetNamespace, OpenVswitch, TestKernel, VMM_THREADS, hijack, hugepages,
    passt, wait_for_threads,
};
use virshle_testkit_macros::test_on;

use crate::lab::{DISK, LEAST, Lab, networked_with, patient};

/// Another machine, a user's key, and services that everybody may reach.
struct Surroundings {
    other: Vm,
    elsewhere: PathBuf,
    database: Option<PathBuf>,
    _bus: UnixListener,
    process: Child,
}

impl Surroundings {
    /// Beside a machine of the lab's template.
    fn of(lab: &Lab, database: Option<&OpenVswitch>) -> Self {
        let other = lab.create("xs");
        other.start(&patient()).unwrap_or_else(|error| panic!("{error:?}"));
        let elsewhere = lab.path("elsewhere");
        drop(fs::remove_dir_all(&elsewhere));
        fs::create_dir_all(elsewhere.join(".ssh")).unwrap();
        fs::write(elsewhere.join(".ssh/id_ed25519"), "key").unwrap();
        let bus = UnixListener::bind(elsewhere.join("bus")).unwrap();
        for (name, mode) in
            [("", 0o777), (".ssh", 0o755), (".ssh/id_ed25519", 0o644), ("bus", 0o666)]
        {
            let open = fs::Permissions::from_mode(mode);
            fs::set_permissions(elsewhere.join(name), open).unwrap();
        }
        let database = database
            .map(|ovs| PathBuf::from(ovs.address().strip_prefix("unix:").unwrap()))
            .inspect(|socket| {
                fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).unwrap();
            });
        let process = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        Self { other, elsewhere, database, _bus: bus, process }
    }

    fn attempts(&self, own: &Vm) -> Vec<Attempt> {
        let other = &self.other;
        let victim = self.process.id();
        let vmm = other.info().pid.unwrap();
        let mut attempts = vec![
            Attempt::Read("/etc/shadow".into()),
            Attempt::Read("/etc/hostname".into()),
            Attempt::Read(self.elsewhere.join(".ssh/id_ed25519")),
            Attempt::Create(self.elsewhere.join("new")),
            Attempt::Read(other.directory().join("vm.toml")),
            Attempt::Create(other.directory().join("net/new")),
            Attempt::Connect(other.api_socket()),
            Attempt::Connect(own.api_socket()),
            Attempt::Connect(self.elsewhere.join("bus")),
            Attempt::RingConnect(self.elsewhere.join("bus")),
            Attempt::RingConnect(other.api_socket()),
            Attempt::RingConnect(own.api_socket()),
            Attempt::SendMessage(self.elsewhere.join("bus")),
            Attempt::RingUdp,
            Attempt::Look("/etc/shadow".into()),
            Attempt::Look(self.elsewhere.join(".ssh")),
            Attempt::ChangeMode(self.elsewhere.join(".ssh")),
            Attempt::Watch(self.elsewhere.clone()),
            Attempt::Limit(victim),
            Attempt::Limit(vmm),
            Attempt::SignalByFile(victim),
            Attempt::SharedMemory,
            Attempt::RawSocket,
            Attempt::PacketSocket,
            Attempt::UdpSocket,
            Attempt::Netlink,
            Attempt::Kill(victim),
            Attempt::ThreadKill(victim),
            Attempt::Kill(vmm),
            Attempt::Trace(vmm),
            Attempt::Unshare,
            Attempt::Mount(self.elsewhere.clone()),
            Attempt::Keys,
            Attempt::Bpf,
            Attempt::BecomeRoot,
        ];
        for disk in &other.definition().disks {
            attempts.extend([
                Attempt::Read(other.disk(&disk.name)),
                Attempt::Write(other.disk(&disk.name)),
            ]);
        }
        // What in its own directory isn't its own.
        for name in ["vm.toml", "run.json", "lock", "ch.log", "events.json", "serial.log"] {
            attempts.push(Attempt::Read(own.directory().join(name)));
            attempts.push(Attempt::Write(own.directory().join(name)));
        }
        attempts.push(Attempt::Create(own.directory().join("disk/new")));
        attempts.push(Attempt::Create(own.directory().join("net/new")));
        if let Some(socket) = self.database.clone() {
            attempts.extend([Attempt::Connect(socket.clone()), Attempt::RingConnect(socket)]);
        }
        attempts
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Has each thread of the running machine try everything, before and after its guest is reset.
#[track_caller]
#[expect(clippy::print_stdout, reason = "the table of docs/security.md, with --nocapture")]
fn assert_caged(lab: &Lab, vm: &Vm, database: Option<&OpenVswitch>, devices: usize) {
    let surroundings = Surroundings::of(lab, database);
    for time in ["started", "reset"] {
        let mut attempts = surroundings.attempts(vm);
        let pid = vm.info().pid.unwrap();
        assert!(wait_for_threads(pid, &VMM_THREADS, patient().answer_timeout));
        wait_for_devices(pid, devices);
        attempts.extend(taps(pid).map(Attempt::KeepTap));
        let threads = hijack(pid, &attempts).unwrap();
        assert!(threads.len() >= VMM_THREADS.len(), "{threads:#?}");
        for thread in &threads {
            assert!(
                thread.allowed().is_empty(),
                "{time} {}: {:?}",
                thread.thread,
                thread.allowed()
            );
            assert_eq!(thread.outcomes.len(), attempts.len());
        }
        let names: Vec<&str> = threads.iter().map(|thread| thread.thread.as_str()).collect();
        println!("{time}: {} tries each, 0 allowed: {names:?}", attempts.len());
        assert_eq!(vm.state(), VmState::Running);
        let client = Client::connect(&vm.api_socket(), patient().answer_timeout);
        client.unwrap().reboot().unwrap();
        assert_eq!(vm.state(), VmState::Running, "after a reset");
    }
    surroundings.other.stop(&StopRequest::force()).unwrap();
    assert_eq!(surroundings.other.state(), VmState::Stopped);
}

fn started(lab: &Lab) -> Vm {
    let vm = lab.create("xs");
    vm.start(&patient()).unwrap_or_else(|error| panic!("{error:?}"));
    vm
}

/// The user of a process.
fn uid(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).unwrap().uid()
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_hijacked_vmm_reaches_its_machine_alone() {
    let lab = Lab::new(DISK);
    let vm = started(&lab);
    assert_caged(&lab, &vm, None, 0);
    vm.stop(&StopRequest::force()).unwrap();
    vm.start(&patient()).unwrap();
    assert_caged(&lab, &vm, None, 0);
    // The trial can succeed: its own disk it may write.
    let own = [Attempt::Write(vm.disk("os"))];
    let threads = hijack(vm.info().pid.unwrap(), &own).unwrap();
    assert!(
        threads
            .iter()
            .any(|thread| thread.thread == "cloud-hyperviso" && thread.allowed() == [&own[0]])
    );
}

/// How many threads devices have at least once a guest drives them: a disk or an interface, the vsock, random
/// numbers, the balloon.
const DEVICES: usize = 4;

/// Waits until the process has that many threads of devices. A reset while they come up is no test of ours:
/// cloud-hypervisor waits for a vCPU that waits for it.
#[track_caller]
fn wait_for_devices(pid: u32, count: usize) {
    let deadline = Instant::now() + patient().answer_timeout;
    let of_devices = || threads(pid).iter().filter(|name| !OTHERS.contains(&name.as_str())).count();
    while of_devices() < count {
        assert!(Instant::now() < deadline, "{:?}", threads(pid));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Threads that are no device's: of the console, and the kernel's own.
const OTHERS: [&str; 8] = [
    "cloud-hyperviso",
    "http-server",
    "event-monitor",
    "vmm_signal_hand",
    "vmm",
    "vcpu0",
    "serial-manager",
    "kvm-nx-lpage-re",
];

/// The names of a process' threads.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let comm = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(|task| Some(comm(task.ok()?)?.trim_end().to_owned())).collect()
}

/// The descriptors of a process that are taps.
fn taps(pid: u32) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap());
    let tap = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|link| link == Path::new("/dev/net/tun"))
    };
    entries.filter(tap).map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_hijacked_device_reaches_its_machine_alone() {
    let lab = Lab::with_kernel(DISK, &TestKernel::drives());
    assert_caged(&lab, &started(&lab), None, DEVICES);
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_hijacked_vmm_on_an_overlay_reads_its_image_and_no_more() {
    let lab = Lab::new(&DISK.replace("name = \"os\"", "name = \"os\"\nclone = \"overlay\""));
    let image = lab.path("image.raw");
    fs::set_permissions(&image, fs::Permissions::from_mode(0o600)).unwrap();
    let before = fs::metadata(&image).unwrap();
    let vm = started(&lab);
    assert_caged(&lab, &vm, None, 0);
    let tries = [Attempt::Read(image.clone()), Attempt::Write(image.clone())];
    for thread in hijack(vm.info().pid.unwrap(), &tries).unwrap() {
        assert!(!thread.allowed().contains(&&tries[1]), "{thread:?}");
    }
    // What others were kept from they are kept from, and with the last machine nothing is left of it.
    let during = fs::metadata(&image).unwrap();
    assert_eq!((during.uid(), during.gid(), during.mode() & 0o7), (before.uid(), before.gid(), 0));
    vm.remove(Force::Yes).unwrap();
    for other in lab.node.select(&Selection::all()).unwrap_or_default() {
        other.remove(Force::Yes).unwrap();
    }
    let list = "system.posix_acl_access";
    let mut room = [0; 256];
    let found = rustix::fs::getxattr(&image, list, room.as_mut_slice());
    assert_eq!(found, Err(rustix::io::Errno::NODATA));
    assert_eq!(fs::metadata(&image).unwrap().mode(), before.mode());
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_hijacked_vmm_on_hugepages_reaches_its_machine_alone() {
    // cloud-hypervisor asks the filesystem that systemd mounts there for the pages' size.
    let dev = tempfile::tempdir().unwrap();
    let namespace = MountNamespace::enter().unwrap();
    namespace.mount_hugepages(dev.path()).unwrap();
    // Two machines of 64 MiB in pages of 2 MiB.
    let Ok(_pages) = hugepages(96) else { return };
    let lab = Lab::new(
        &LEAST.replace("vram = \"64MiB\"", "vram = { size = \"64MiB\", hugepages = true }"),
    );
    assert_caged(&lab, &started(&lab), None, 0);
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_hijacked_vmm_on_a_tap_reaches_its_machine_alone() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = networked_with(&ovs, "tap", &TestKernel::drives());
    let vm = started(&lab);
    assert!(taps(vm.info().pid.unwrap()).count() > 0);
    assert_caged(&lab, &vm, Some(&ovs), DEVICES);
}

#[test_on(Dpdk, Ch, Kvm)]
fn dpdk_a_hijacked_vmm_on_vhost_user_reaches_its_machine_alone() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::with_dpdk();
    let lab = networked_with(&ovs, "vhost", &TestKernel::drives());
    assert_caged(&lab, &started(&lab), Some(&ovs), DEVICES);
}

#[test_on(Passt, Ch, Kvm, Root)]
fn passt_a_hijacked_vmm_on_a_user_network_reaches_its_machine_alone() {
    let passt = passt().display().to_string();
    let net = "net = [{ name = \"main\", type = \"user\" }]\n";
    let template = LEAST.trim_end();
    let text = format!("[network]\npasst = {passt:?}\n{template}\n{net}");
    let lab = Lab::with_kernel(&text, &TestKernel::drives());
    let vm = started(&lab);
    assert_caged(&lab, &vm, None, DEVICES);
    // The trial can succeed: to passt it may connect.
    let own = [Attempt::Connect(vm.net_socket("main")), Attempt::Look(vm.directory().into())];
    let threads = hijack(vm.info().pid.unwrap(), &own).unwrap();
    assert!(threads.iter().any(|thread| thread.allowed().len() == 2), "{threads:#?}");
}

#[test_on(Ch, Kvm, Root)]
fn kvm_machines_have_users_of_their_own_and_the_rest_stays_the_owners() {
    let lab = Lab::new(DISK);
    let (one, two) = (started(&lab), started(&lab));
    let users = [&one, &two].map(|vm| uid(vm.info().pid.unwrap()));
    let range = UserRange::default();
    assert!(users.iter().all(|user| range.contains(*user)), "{users:?}");
    assert_eq!(users[1], users[0] + 1);
    let owner = |path: PathBuf| fs::symlink_metadata(path).unwrap().uid();
    for name in ["disk", "disk/os", "net", "tmp", "net/ch.vsock"] {
        assert_eq!(owner(one.directory().join(name)), users[0], "{name}");
    }
    for name in
        ["", "vm.toml", "run.json", "lock", "ch.log", "events.json", "serial.log", "ch.sock"]
    {
        assert_eq!(owner(one.directory().join(name)), 0, "{name}");
    }
    // The console works, though its VMM is another user's.
    assert!(one.console().is_ok());
    // A machine that an earlier version created, or that was copied here, gets its owner at its start.
    one.stop(&StopRequest::force()).unwrap();
    std::os::unix::fs::chown(one.disk("os"), Some(0), Some(0)).unwrap();
    one.start(&patient()).unwrap();
    assert_eq!(owner(one.disk("os")), users[0]);
}

#[test_on(Ch, Kvm, Root)]
fn kvm_what_cannot_be_confined_is_not_started_and_nothing_is_changed() {
    let lab = Lab::new(DISK);
    let vm = lab.create("xs");
    let refused = |vm: &Vm| match vm.start(&patient()).unwrap_err() {
        StartError::MissingFile { source, .. } => source.kind() == ErrorKind::InvalidInput,
        _ => false,
    };
    // A disk that is another file's name as well may be anything of the host's.
    let other_name = lab.path("other-name");
    fs::hard_link(vm.disk("os"), &other_name).unwrap();
    assert!(refused(&vm));
    assert_eq!(fs::metadata(&other_name).unwrap().uid(), 0);
    fs::remove_file(&other_name).unwrap();
    // Nor one that leads elsewhere.
    let elsewhere = lab.path("elsewhere");
    fs::rename(vm.disk("os"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, vm.disk("os")).unwrap();
    assert!(refused(&vm));
    assert_eq!(fs::metadata(&elsewhere).unwrap().uid(), 0);
    fs::remove_file(vm.disk("os")).unwrap();
    fs::rename(&elsewhere, vm.disk("os")).unwrap();

    // A program that others may not run; nor is it opened to them.
    let program = lab.path("cloud-hypervisor");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let text = format!("[hypervisor]\nprogram = {program:?}\n");
    let config = Config::from_toml(&text, &lab.path("other.toml")).unwrap();
    let node = Node::new(config, Some(lab.node.root()));
    let closed = node.vm(vm.definition().uuid).unwrap();
    let error = closed.start(&patient()).unwrap_err();
    let StartError::Hardware(HardwareError::Confine { source, .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(source, ConfineError::Program { .. }), "{source:?}");
    // A range that holds no user for it.
    let node = lab.reconfigured(&format!("users = \"2100000000-2100000255\"\n{DISK}"));
    let small = node.vm(vm.definition().uuid).unwrap();
    small.start(&patient()).unwrap();
    small.stop(&StopRequest::force()).unwrap();
    vm.start(&patient()).unwrap();
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_kernel_in_a_home_that_is_closed_to_others_is_booted() {
    let lab = Lab::new(&LEAST.replace("{folder}/kernel", "{folder}/home/kernel"));
    let home = lab.path("home");
    fs::create_dir(&home).unwrap();
    fs::rename(lab.path("kernel"), home.join("kernel")).unwrap();
    let close =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    close(&home.join("kernel"), 0o600);
    close(&home, 0o700);
    let vm = started(&lab);
    assert_eq!(vm.state(), VmState::Running);
    vm.remove(Force::Yes).unwrap();
    assert_eq!(fs::metadata(&home).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(home.join("kernel")).unwrap().mode() & 0o777, 0o600);
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_machine_that_can_have_no_user_is_started_only_as_well_as_it_goes() {
    let users = "users = \"2100000000-2100000255\"\n";
    let lab = Lab::new(&format!("{users}{LEAST}"));
    // Ids are never given twice, and this range has room for 255.
    fs::create_dir_all(lab.node.root()).unwrap();
    fs::write(lab.node.root().join("next-id"), "256\n").unwrap();
    let vm = lab.create("xs");
    assert_eq!(vm.definition().id, 256);
    let error = vm.start(&patient()).unwrap_err();
    let StartError::Hardware(HardwareError::Confine { source, .. }) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(source, ConfineError::IdBeyond { id: 256, .. }), "{source:?}");
    assert!(!vm.directory().join("run.json").exists());
    let node = lab.reconfigured(&format!("{users}confine = \"best-effort\"\n{LEAST}"));
    let vm = node.vm(vm.definition().uuid).unwrap();
    vm.start(&patient()).unwrap();
    let pid = vm.info().pid.unwrap();
    assert_eq!(uid(pid), 0);
    // Root without any capability, and landlock and seccomp all the same.
    let tries =
        [Attempt::Read("/etc/shadow".into()), Attempt::Connect(vm.api_socket()), Attempt::Unshare];
    let threads = hijack(pid, &tries).unwrap();
    assert!(threads.iter().all(|thread| thread.allowed().is_empty()), "{threads:#?}");
    vm.stop(&StopRequest::force()).unwrap();
}

#[test_on(Ch, Kvm, Root)]
fn kvm_a_user_that_another_nodes_machine_has_is_found() {
    let first = "users = \"2100000000-2100065535\"\n";
    let (one, other) = (Lab::new(&format!("{first}{LEAST}")), Lab::new(&format!("{first}{LEAST}")));
    let finding = |node: &Node| {
        let findings = node.check().unwrap().findings;
        findings.into_iter().find(|finding| finding.subject == "users").unwrap().message
    };
    let (vm, others) = (started(&one), started(&other));
    let users = [&vm, &others].map(|vm| uid(vm.info().pid.unwrap()));
    assert_ne!(users[0], users[1]);
    assert!(finding(&one.node).contains("a user of its own"));
    // The same range for both, but for where it begins: so that they meet.
    let begin = 2_100_000_000_u32.wrapping_add(users[0]).wrapping_sub(users[1]);
    let moved = format!("users = \"{begin}-{}\"\n{LEAST}", begin + 65535);
    let node = other.reconfigured(&moved);
    let again = node.vm(others.definition().uuid).unwrap();
    again.stop(&StopRequest::force()).unwrap();
    again.start(&patient()).unwrap();
    assert_eq!(uid(again.info().pid.unwrap()), users[0]);
    let found = finding(&one.node);
    assert!(found.contains("has the same user as one of another node"), "{found}");
    assert!(found.contains(again.api_socket().to_str().unwrap()), "{found}");
}
