//! The cage: what each thread of a caged program is refused, shown by having it try.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use virshle_hypervisor::{
    Cage, CageAccess, CageError, DiskConfig, HypervisorError, Identity, ImageType, Launch, Seccomp,
    View, VmConfig, VsockConfig, cage_lacks, try_own_view,
};
use virshle_testkit::{
    Attempt, Hijacked, Outcome, TestKernel, VMM_THREADS, hijack, wait_for_threads,
};
use virshle_testkit_macros::test_on;

use crate::machine::{Machine, SOON, launch, small};

/// Users that no host has.
const USER: u32 = 2_100_000_001;

/// What a hijacker would like to have, and a machine that has nothing to do with it.
struct Host {
    elsewhere: TempDir,
    _listeners: (UnixListener, UnixListener, UnixDatagram),
    abstract_name: String,
    victim: Child,
}

impl Host {
    fn new() -> Self {
        let elsewhere = tempfile::tempdir().unwrap();
        // Open to everybody: it is not the mode that refuses.
        open(elsewhere.path(), 0o777);
        let secret = elsewhere.path().join("secret");
        std::fs::write(&secret, "").unwrap();
        open(&secret, 0o666);
        let stream = UnixListener::bind(elsewhere.path().join("sock")).unwrap();
        let datagram = UnixDatagram::bind(elsewhere.path().join("datagram")).unwrap();
        open(&elsewhere.path().join("sock"), 0o777);
        open(&elsewhere.path().join("datagram"), 0o777);
        let abstract_name = format!("virshle-{}", elsewhere.path().display());
        let name = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let unnamed = UnixListener::bind_addr(&name).unwrap();
        let victim = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        Self { elsewhere, _listeners: (stream, unnamed, datagram), abstract_name, victim }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.elsewhere.path().join(name)
    }

    fn attempts(&self) -> Vec<Attempt> {
        let pid = self.victim.id();
        vec![
            Attempt::Read("/etc/shadow".into()),
            Attempt::Read("/etc/hostname".into()),
            Attempt::Read(self.path("secret")),
            Attempt::Write(self.path("secret")),
            Attempt::Create(self.path("new")),
            Attempt::Connect(self.path("sock")),
            Attempt::Send(self.path("datagram")),
            Attempt::SendMessage(self.path("datagram")),
            Attempt::RingConnect(self.path("sock")),
            Attempt::RingUdp,
            Attempt::Abstract(self.abstract_name.clone()),
            Attempt::Look(self.path("secret")),
            Attempt::ChangeMode(self.path("secret")),
            Attempt::Watch(self.path("")),
            Attempt::Limit(pid),
            Attempt::SignalByFile(pid),
            Attempt::SharedMemory,
            Attempt::RawSocket,
            Attempt::PacketSocket,
            Attempt::UdpSocket,
            Attempt::Netlink,
            Attempt::Kill(pid),
            Attempt::ThreadKill(pid),
            Attempt::Trace(pid),
            Attempt::Unshare,
            Attempt::Mount(self.path("")),
            Attempt::Keys,
            Attempt::Bpf,
        ]
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.victim.kill());
        drop(self.victim.wait());
    }
}

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn kvm() -> Cage {
    Cage::new().file("/dev/kvm", CageAccess::Device)
}

/// A machine with a disk and a vsock in the cage, and without cloud-hypervisor's own confinement.
fn caged(cage: Cage, owner: Option<u32>) -> (Machine, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let config = small(directory.path(), &TestKernel::halt());
    let (disk, sockets) = (directory.path().join("disk"), directory.path().join("net"));
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    std::fs::create_dir(&sockets).unwrap();
    if let Some(owner) = owner {
        open(directory.path(), 0o755);
        chown(&disk, Some(owner), Some(owner)).unwrap();
        chown(&sockets, Some(owner), Some(owner)).unwrap();
    }
    let kernel = config.payload.as_ref().unwrap().kernel.clone().unwrap();
    let cage = cage
        .file(kernel, CageAccess::Read)
        .file(&disk, CageAccess::ReadWrite)
        .file(&sockets, CageAccess::Sockets);
    let machine = start(launch(directory.path()).cage(cage), directory);
    boot(&machine, config, &disk);
    (machine, disk)
}

fn start(launch: Launch, directory: TempDir) -> Machine {
    let vmm = launch.seccomp(Seccomp::Off).spawn().unwrap();
    Machine { directory, vmm }
}

fn boot(machine: &Machine, config: VmConfig, disk: &Path) {
    let vsock = machine.path("net/vsock");
    let config =
        config.disk(DiskConfig::new(disk, ImageType::Raw)).vsock(VsockConfig::new(3, vsock));
    machine.boot(&config);
}

#[track_caller]
fn assert_all_refused(machine: &Machine, host: &Host, disk: &Path) {
    let mut attempts = host.attempts();
    attempts.push(Attempt::BecomeRoot);
    let own = Attempt::Write(disk.to_owned());
    attempts.push(own.clone());
    assert!(wait_for_threads(machine.vmm.pid(), &VMM_THREADS, SOON));
    let threads = hijack(machine.vmm.pid(), &attempts).unwrap();
    assert!(threads.len() >= VMM_THREADS.len(), "{threads:#?}");
    for thread in &threads {
        assert_eq!(thread.allowed(), [&own], "{thread:#?}");
    }
    assert!(!host.path("new").exists());
    // And it runs on.
    assert!(machine.client().ping().is_ok());
    machine.client().reboot().unwrap();
    let threads = hijack(machine.vmm.pid(), &attempts).unwrap();
    assert!(threads.iter().all(|thread| thread.allowed() == [&own]), "{threads:#?}");
}

#[test_on(Ch, Kvm, Root)]
fn kvm_no_thread_of_a_caged_vmm_leaves_its_machine_whoever_runs_it() {
    assert_eq!(cage_lacks(), []);
    try_own_view().unwrap();
    let host = Host::new();
    let (machine, disk) = caged(kvm().view(View::Own), Some(0));
    // Root without capabilities may still be told that it is root.
    let threads = hijack(machine.vmm.pid(), &host.attempts()).unwrap();
    assert!(threads.iter().all(|thread| thread.allowed().is_empty()), "{threads:#?}");
    drop(machine);
    drop(disk);

    // What sees what the host has isn't told to landlock or seccomp, but has no io_uring.
    let (machine, _disk) = caged(kvm(), Some(0));
    let seen = [Attempt::Look(host.path("secret")), Attempt::SendMessage(host.path("datagram"))];
    for thread in hijack(machine.vmm.pid(), &host.attempts()).unwrap() {
        assert!(thread.allowed().iter().all(|attempt| seen.contains(attempt)), "{thread:#?}");
    }
    drop(machine);

    let kvm_before = std::fs::metadata("/dev/kvm").unwrap();
    assert!(kvm_before.permissions().mode() & 0o600 == 0o600);
    let node = device();
    let cage = kvm().view(View::Own);
    let identity = Identity::new(USER, USER).group(node);
    let (machine, disk) = caged(cage.identity(identity), Some(USER));
    assert_all_refused(&machine, &host, &disk);
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.vmm.pid())).unwrap();
    for line in [
        format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}"),
        format!("Gid:\t{USER}\t{USER}\t{USER}\t{USER}"),
        format!("Groups:\t{node} "),
        "CapInh:\t0000000000000000".into(),
        "CapPrm:\t0000000000000000".into(),
        "CapEff:\t0000000000000000".into(),
        "CapBnd:\t0000000000000000".into(),
        "CapAmb:\t0000000000000000".into(),
        "NoNewPrivs:\t1".into(),
        "Seccomp:\t2".into(),
    ] {
        assert!(status.lines().any(|found| found == line), "{line}: {status}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", machine.vmm.pid())).unwrap();
    let has = |name: &str, most: &str| {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let wanted = words(&format!("{name} {most} {most}"));
        limits.lines().any(|line| words(line).starts_with(&wanted))
    };
    assert!(has("Max core file size", "0") && has("Max open files", "4096"), "{limits}");
    let environment = std::fs::read(format!("/proc/{}/environ", machine.vmm.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.starts_with("PATH="), "{environment}");
    assert_eq!(environment.matches('\0').count(), 1, "{environment}");
}

/// The trial finds what it looks for: without a cage the same threads succeed.
#[test_on(Ch, Kvm, Root)]
fn kvm_a_vmm_without_a_cage_reaches_all_of_it() {
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    std::fs::create_dir(directory.path().join("net")).unwrap();
    let machine = start(launch(directory.path()), directory);
    boot(&machine, machine.config(&TestKernel::halt()), &disk);
    // But for what would change the host, or the process: that is only tried where it is refused.
    let harmless = |attempt: &Attempt| {
        !matches!(
            attempt,
            Attempt::Mount(_)
                | Attempt::Trace(_)
                | Attempt::Bpf
                | Attempt::Send(_)
                | Attempt::SharedMemory
                | Attempt::SignalByFile(_)
        )
    };
    let attempts: Vec<_> = host.attempts().into_iter().filter(harmless).collect();
    let threads = hijack(machine.vmm.pid(), &attempts).unwrap();
    let refused = |thread: &Hijacked| {
        let refused = thread.outcomes.iter().filter(|(_, end)| *end != Outcome::Allowed);
        refused.map(|(attempt, end)| format!("{attempt:?} {end:?}")).collect::<Vec<_>>()
    };
    for thread in &threads {
        assert_eq!(refused(thread), [""; 0], "{}", thread.thread);
    }
}

#[test_on(Ch, Kvm)]
fn ch_a_cage_for_what_isnt_there_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("gone");
    let cage = Cage::new().file(&gone, CageAccess::Read);
    let error = launch(directory.path()).cage(cage).spawn().unwrap_err();
    let HypervisorError::Cage { source: CageError::File { path, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*path, gone);
    assert!(!directory.path().join("ch.sock").exists());
    assert!(!directory.path().join("ch.log").exists());
}

#[test_on(Ch, Kvm, Root)]
fn ch_a_step_into_the_cage_that_fails_is_named() {
    let directory = tempfile::tempdir().unwrap();
    // More than any process can have.
    let identity = (0..70_000).fold(Identity::new(USER, USER), Identity::group);
    let error = launch(directory.path()).cage(Cage::new().identity(identity)).spawn().unwrap_err();
    let HypervisorError::Cage { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "cannot set the groups in the new process");
    assert!(matches!(source, CageError::Apply { .. }), "{source:?}");
    assert!(!directory.path().join("ch.sock").exists());
}

/// Whether a program in a cage sees `path`, once `spoil` was done to what was prepared.
fn sees(cage: &Cage, path: &str, spoil: impl FnOnce()) -> std::io::Result<bool> {
    let program = Path::new("/usr/bin/test");
    let cage = cage.prepare(program).unwrap();
    spoil();
    let mut command = Command::new(program);
    cage.apply_to(command.args(["-e", path]));
    Ok(command.status()?.success())
}

/// Regression: a program with more descriptors open than a caged one may have could start none.
#[test_on(Root)]
fn root_a_starter_with_many_descriptors_starts_a_caged_program() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let open = (0..5000).map(|_| std::fs::File::open("/dev/null"));
    let open: Vec<_> = open.collect::<Result<_, _>>().unwrap();
    let shown = tempfile::tempdir().unwrap();
    let path = shown.path().to_str().unwrap();
    for view in [View::Own, View::Shared] {
        let cage = Cage::new().view(view).show(path).file(path, CageAccess::Read);
        assert!(sees(&cage, path, || ()).unwrap(), "{view:?}");
    }
    drop(open);
}

#[test_on(Root)]
fn root_a_view_has_what_is_shown_and_nothing_else() {
    let shown = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (shown.path().to_str().unwrap(), "/etc/hostname");
    let cage = |view| Cage::new().view(view).show(shown.path());
    for view in [View::Own, View::OwnIfPossible] {
        assert!(sees(&cage(view), path, || ()).unwrap());
        // Not what lies above it either, nor another process.
        for hidden in
            [elsewhere, "/..//etc/hostname", "/proc/1", "/proc/self/root/etc/hostname", "/sys"]
        {
            assert!(!sees(&cage(view), hidden, || ()).unwrap(), "{hidden}");
        }
    }
    assert!(sees(&cage(View::Shared), elsewhere, || ()).unwrap());
    // The host is none the wiser.
    assert!(Path::new(elsewhere).exists());
    assert!(std::fs::read_dir("/").unwrap().count() > 3);
}

#[test_on(Root)]
fn root_a_view_that_cannot_be_set_up_is_an_error_or_done_without() {
    let spoiled = |view| {
        let gone = tempfile::tempdir().unwrap();
        let cage = Cage::new().view(view).show(gone.path());
        sees(&cage, "/etc/hostname", || drop(gone))
    };
    assert_eq!(spoiled(View::Own).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert!(spoiled(View::OwnIfPossible).unwrap());
}

/// A group that may use /dev/kvm: by its mode, or by an access list for the test.
fn device() -> u32 {
    use std::os::unix::fs::MetadataExt;
    let device = std::fs::File::open("/dev/kvm").unwrap();
    let metadata = device.metadata().unwrap();
    if metadata.mode() & 0o060 == 0o060 && metadata.gid() != 0 {
        return metadata.gid();
    }
    // Those that no host has; the list stays, and opens the device to nobody.
    const GROUP: u32 = USER - 1;
    if metadata.mode() & 0o006 != 0o006 {
        let entry = |tag: u16, rights: u16, id: u32| {
            [tag.to_le_bytes(), rights.to_le_bytes()].concat().into_iter().chain(id.to_le_bytes())
        };
        let list: Vec<u8> = 2_u32
            .to_le_bytes()
            .into_iter()
            .chain(entry(1, 6, u32::MAX))
            .chain(entry(4, 0, u32::MAX))
            .chain(entry(8, 6, GROUP))
            .chain(entry(16, 6, u32::MAX))
            .chain(entry(32, 0, u32::MAX))
            .collect();
        let name = "system.posix_acl_access";
        rustix::fs::setxattr("/dev/kvm", name, &list, rustix::fs::XattrFlags::empty()).unwrap();
    }
    GROUP
}
