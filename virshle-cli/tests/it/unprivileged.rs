//! `v` as a user who is not root, and what that takes: docs/guide/without-root.md.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};
use virshle_testkit::{Attempt, NetNamespace, OpenVswitch, TestKernel, hijack, passt};
use virshle_testkit_macros::test_on;

use crate::access::assert_private;
use crate::home::{Home, Ran, ran};

/// `nobody`, which every system has; and another one.
const USER: u32 = 65534;
const STRANGER: u32 = 65533;
/// A group as `virshle` and `kvm` would be.
const GROUP: u32 = 60123;

/// A host as an administrator would set it up, with a `v` of its own.
struct Host {
    home: Home,
    /// Dropped after the machines are gone.
    ovs: Option<OpenVswitch>,
    _namespace: NetNamespace,
}

impl Host {
    fn new(kind: &str, start: fn() -> OpenVswitch) -> Self {
        let namespace = NetNamespace::enter().unwrap();
        let ovs = start();
        let bridge = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"];
        ovs.vsctl(&bridge);
        let net = format!("[{{ name = \"main\", type = \"{kind}\" }}]");
        Self::with(&net, Some(ovs), namespace)
    }

    /// One that has no switch.
    fn without_switch(net: &str) -> Self {
        Self::with(net, None, NetNamespace::enter().unwrap())
    }

    fn with(net: &str, ovs: Option<OpenVswitch>, namespace: NetNamespace) -> Self {
        let home = Home::new();
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open(&home.path(""), 0o755);
        fs::create_dir(home.path("user")).unwrap();
        chown(home.path("user"), Some(USER), Some(USER)).unwrap();
        let written = TestKernel::halt().write(&home.path("")).unwrap();
        fs::rename(written, home.path("kernel")).unwrap();
        // The group's: the database, /dev/kvm, and the program.
        let address = ovs.as_ref().map_or("unix:/nowhere".into(), |ovs| ovs.address().to_string());
        let socket = PathBuf::from(address.strip_prefix("unix:").unwrap());
        if ovs.is_some() {
            open(socket.parent().unwrap(), 0o755);
            open(&socket, 0o770);
            chown(&socket, None, Some(GROUP)).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_v"), home.path("v")).unwrap();
        open(&home.path("v"), 0o750);
        for (name, minor, mode) in [("kvm", 232, 0o660), ("tun", 200, 0o666)] {
            let device = makedev(10, minor);
            let kind = FileType::CharacterDevice;
            mknodat(CWD, home.path(name), kind, Mode::empty(), device).unwrap();
            open(&home.path(name), mode);
        }
        for path in [home.path("v"), home.path("kvm")] {
            chown(path, None, Some(GROUP)).unwrap();
        }
        let program = std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into());
        home.write_config(&format!(
            "[network]\novsdb = \"{address}\"\npasst = {:?}\n[hypervisor]\nprogram = {program:?}\n\
             [[template.vm]]\nname = \"bare\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
             disk = [{{ name = \"os\", path = \"HOME/image.raw\" }}]\n\
             [[template.vm]]\nname = \"alone\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
             disk = [{{ name = \"os\", path = \"HOME/image.raw\" }}]\nnet = []\n\
             [[template.vm]]\nname = \"net\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
             net = {net}\n",
            passt()
        ));
        Self { home, ovs, _namespace: namespace }
    }

    fn vsctl(&self, arguments: &[&str]) -> String {
        self.ovs.as_ref().unwrap().vsctl(arguments)
    }

    /// A command as that user, with these arguments for setpriv(1), before devices of the host's own.
    fn as_user(&self, privileges: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(
                "mount --bind \"$1\" /dev/kvm && mount --bind \"$2\" /dev/net/tun && shift 2 && \
                 exec setpriv \"$@\"",
            )
            .arg("sh")
            .args([self.home.path("kvm"), self.home.path("tun")])
            .args(privileges)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path("user"))
            .env("VIRSHLE_CONFIG", self.home.config())
            .current_dir(self.home.path("user"));
        command
    }

    fn v(&self, privileges: &[&str], arguments: &str) -> Ran {
        let user = format!("--reuid={USER}");
        let mut all = vec![user.as_str(), "--regid=65534"];
        all.extend(privileges);
        let mut command = self.as_user(&all);
        command.arg(self.home.path("v")).args(arguments.split(' '));
        ran(&mut command)
    }

    /// As a member of the group.
    fn member(&self, arguments: &str) -> Ran {
        self.v(&[&format!("--groups={GROUP}")], arguments)
    }

    #[track_caller]
    fn member_can(&self, arguments: &str) -> serde_json::Value {
        let ran = self.member(&format!("{arguments} --json"));
        assert_eq!(ran.code, 0, "v {arguments}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// A check, which may find that the host lacks something else.
    fn checked(&self, arguments: &str) -> serde_json::Value {
        let ran = self.member(&format!("{arguments} --json"));
        assert!([0, 5].contains(&ran.code), "v {arguments}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.home.path("user/.local/share/virshle")
    }

    /// Gives `v` a capability, as `setcap cap_net_admin+ep v` does.
    ///
    /// `struct vfs_cap_data` of `linux/capability.h`: revision 2, effective; CAP_NET_ADMIN is 12.
    fn set_capability(&self) {
        let data: [u32; 5] = [0x0200_0001, 1 << 12, 0, 0, 0];
        let bytes: Vec<u8> = data.iter().flat_map(|word| word.to_le_bytes()).collect();
        let name = "security.capability";
        setxattr(self.home.path("v"), name, &bytes, XattrFlags::empty()).unwrap();
    }

    /// Whether the filesystem of the test's own `v` lets programs have capabilities.
    fn has_file_capabilities(&self) -> bool {
        let flags = rustix::fs::statvfs(self.home.path("v")).unwrap().f_flag;
        !flags.contains(rustix::fs::StatVfsMountFlags::NOSUID)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.member("vm rm --force --all"));
    }
}

/// The line that begins with `name` in the kernel's status of a process.
fn status(pid: u64, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

#[test_on(Root, Ovs, Ch, Kvm)]
fn root_unprivileged_user_gets_the_missing_requirements_reported() {
    let host = Host::new("tap", OpenVswitch::start);
    fs::set_permissions(host.home.path("v"), fs::Permissions::from_mode(0o755)).unwrap();
    let alone = |arguments: &str| host.v(&["--clear-groups"], arguments);
    // What touches the user's own files alone needs no privilege.
    for arguments in ["vm create -t bare --name web", "vm ls", "vm info web", "template ls"] {
        let ran = alone(arguments);
        assert_eq!(ran.code, 0, "v {arguments}: {ran:?}");
    }
    assert_private(&host.root());
    let start = alone("vm start web");
    start.fails_with(5, &["/dev/kvm cannot be opened", "add yourself to the group kvm"]);
    let init = alone("node init");
    init.fails_with(5, &["Permission denied", "give this user access to the database's socket"]);
    let check = alone("node check");
    assert_eq!(check.code, 5, "{check:?}");
    assert!(check.stdout.contains("group kvm") && check.stdout.contains("socket"), "{check:?}");
    assert_eq!(alone("vm rm web").code, 0);
    // The group opens both, and a tap is still root's.
    assert_eq!(host.member("node init").code, 0);
    host.member_can("vm create -t net --name db");
    let start = host.member("vm start db");
    start.fails_with(5, &["cannot create tap vm2-", "CAP_NET_ADMIN", "a vhost network"]);
    assert_eq!(host.vsctl(&["list-ports", "br0"]), "");
}

/// Regression: who may not read an image was sent to the template (516caab).
#[test_on(Root, Ovs, Ch, Kvm)]
fn root_unprivileged_image_of_another_user_is_not_copied() {
    let host = Host::new("tap", OpenVswitch::start);
    let image = host.home.path("image.raw");
    chown(&image, Some(STRANGER), Some(STRANGER)).unwrap();
    let grant = |mode| fs::set_permissions(&image, fs::Permissions::from_mode(mode)).unwrap();
    grant(0o600);
    let refused = host.member("vm create -t bare --name web");
    refused.fails_with(5, &["image.raw", "Permission denied", "let this user read the file"]);
    let import = format!("image import {} --name theirs", image.display());
    host.member(&import).fails_with(5, &["image.raw", "Permission denied"]);
    assert_eq!(host.member_can("vm ls"), serde_json::json!([]));
    assert_eq!(host.member_can("image ls"), serde_json::json!([]));
    // A user who may read it has a copy of their own.
    grant(0o644);
    let made = host.member_can("vm create -t bare --name web");
    let disk = Path::new(made[0]["dir"].as_str().unwrap()).join("disk/os");
    assert_eq!(fs::metadata(disk).unwrap().uid(), USER);
    assert_private(&host.root());
}

#[test_on(Root, Ovs, Ch, Kvm)]
fn root_unprivileged_machines_are_private_to_their_user() {
    let host = Host::new("tap", OpenVswitch::start);
    let made = host.member_can("vm create -t bare --name web --start");
    assert_eq!(made[0]["state"], "running");
    assert_private(&host.root());
    let pid = made[0]["pid"].as_u64().unwrap();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), USER);
    assert_eq!(status(pid, "CapEff"), "0000000000000000");
    let dir = PathBuf::from(made[0]["dir"].as_str().unwrap());
    let other = format!("--reuid={STRANGER}");
    let groups = format!("--groups={GROUP}");
    for name in ["vm.toml", "disk/os", "ch.log", "serial.log", "."] {
        let mut look = host.as_user(&[&other, "--regid=65533", &groups, "test", "-r"]);
        look.arg(dir.join(name));
        assert_eq!(ran(&mut look).code, 1, "{name}");
    }
    let mut other_v = host.as_user(&[&other, "--regid=65533", &groups]);
    other_v.arg(host.home.path("v")).args(["vm", "stop", "--force", "web", "--root"]);
    let refused = ran(other_v.arg(host.root()));
    refused.fails_with(5, &["cannot read", "Permission denied"]);
    host.member_can("vm pause web");
    host.member_can("vm resume web");
    host.member_can("vm restart --force web");
    host.member_can("vm stop --force web");
    assert_private(&host.root());
    host.member_can("vm rm web");
}

/// As root's machines by their users, these are kept apart by landlock and seccomp alone: all of them are
/// their user's, as the key and the database's socket are.
#[test_on(Root, Ovs, Ch, Kvm)]
fn root_unprivileged_hijacked_vmm_reaches_its_machine_alone() {
    let host = Host::new("tap", OpenVswitch::start);
    let made = host.member_can("vm create -t alone -n 2 --start");
    let (own, other) = (&made[0], &made[1]);
    let [own_dir, other_dir] = [own, other].map(|vm| PathBuf::from(vm["dir"].as_str().unwrap()));
    let other_pid = u32::try_from(other["pid"].as_u64().unwrap()).unwrap();
    let user = host.home.path("user");
    fs::create_dir(user.join(".ssh")).unwrap();
    fs::write(user.join(".ssh/id_ed25519"), "key").unwrap();
    let bus = std::os::unix::net::UnixListener::bind(user.join("bus")).unwrap();
    for name in ["", ".ssh", ".ssh/id_ed25519", "bus"] {
        chown(user.join(name), Some(USER), Some(USER)).unwrap();
    }
    let database = host.ovs.as_ref().unwrap().address().strip_prefix("unix:").unwrap().into();
    chown(&database, Some(USER), None).unwrap();
    let mut attempts = vec![
        Attempt::Read(user.join(".ssh/id_ed25519")),
        Attempt::Create(user.join(".bashrc")),
        Attempt::Read("/etc/hostname".into()),
        Attempt::Connect(database),
        Attempt::Connect(user.join("bus")),
        Attempt::Send(user.join("bus")),
        Attempt::SendMessage(user.join("bus")),
        Attempt::RingConnect(user.join("bus")),
        Attempt::RingConnect(other_dir.join("ch.sock")),
        Attempt::RingUdp,
        Attempt::Look(user.join(".ssh")),
        Attempt::ChangeMode(user.join(".ssh")),
        Attempt::Watch(user.clone()),
        Attempt::Limit(other_pid),
        Attempt::SignalByFile(other_pid),
        Attempt::SharedMemory,
        Attempt::RawSocket,
        Attempt::UdpSocket,
        Attempt::Netlink,
        Attempt::Kill(other_pid),
        Attempt::ThreadKill(other_pid),
        Attempt::Trace(other_pid),
        Attempt::Unshare,
        Attempt::Keys,
        Attempt::Bpf,
        Attempt::BecomeRoot,
    ];
    attempts.extend([&own_dir, &other_dir].map(|dir| Attempt::Connect(dir.join("ch.sock"))));
    attempts.extend([&own_dir, &other_dir].map(|dir| Attempt::Write(dir.join("vm.toml"))));
    attempts.push(Attempt::Write(other_dir.join("disk/os")));
    let pid = u32::try_from(own["pid"].as_u64().unwrap()).unwrap();
    for thread in hijack(pid, &attempts).unwrap() {
        assert!(thread.allowed().is_empty(), "{}: {:?}", thread.thread, thread.allowed());
    }
    assert_eq!(status(pid.into(), "NoNewPrivs"), "1");
    assert_eq!(status(pid.into(), "Seccomp"), "2");
    let own_disk = [Attempt::Write(own_dir.join("disk/os"))];
    assert!(hijack(pid, &own_disk).unwrap().iter().any(|thread| !thread.allowed().is_empty()));
    drop(bus);
    host.member_can("vm stop --force --all");
}

/// A machine with a tap comes and goes, and its VMM has no privilege.
fn tap_machine(host: &Host, privileges: &[&str]) {
    let user = |arguments: &str| {
        let ran = host.v(privileges, &format!("{arguments} --json"));
        assert_eq!(ran.code, 0, "v {arguments}: {ran:?}");
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    };
    let made = user("vm create -t net --name web --start");
    let pid = made[0]["pid"].as_u64().unwrap();
    for line in ["CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status(pid, line), "0000000000000000", "{line}");
    }
    let port = made[0]["nets"][0]["port"].as_str().unwrap();
    assert!(host.vsctl(&["get", "Interface", port, "ofport"]).trim().parse::<u32>().is_ok());
    user("vm stop --force web");
    assert_eq!(host.vsctl(&["list-ports", "br0"]), "");
    assert_eq!(user("node check --repair")["orphans"], serde_json::json!([]));
    user("vm rm web");
}

#[test_on(Root, Ovs, Ch, Kvm)]
fn root_unprivileged_taps_take_one_capability() {
    let host = Host::new("tap", OpenVswitch::start);
    let groups = format!("--groups={GROUP}");
    // Of the session, as a service manager gives it;
    let ambient = ["--inh-caps=+net_admin", "--ambient-caps=+net_admin"];
    tap_machine(&host, &[&groups, ambient[0], ambient[1]]);
    // or of the program.
    if host.has_file_capabilities() {
        host.set_capability();
        tap_machine(&host, &[&groups]);
    }
}

#[test_on(Root, Dpdk, Ch, Kvm)]
fn dpdk_unprivileged_vhost_takes_no_capability() {
    let host = Host::new("vhost", OpenVswitch::with_dpdk);
    let made = host.member_can("vm create -t net --name web --start");
    assert_eq!(made[0]["state"], "running");
    assert_private(&host.root());
    host.member_can("vm stop --force web");
    assert_eq!(host.vsctl(&["list-ports", "br0"]), "");
    host.member_can("vm rm web");
}

#[test_on(Passt, Ch, Kvm, Root)]
fn passt_unprivileged_user_needs_nothing_else() {
    let host = Host::without_switch("[{ name = \"main\", publish = \"8080:80\" }]");
    host.member_can("node init");
    // The template says nothing of nets, and this user can have no other.
    let made = host.member_can("vm create -t bare --name web --start");
    let net = &made[0]["nets"][0];
    assert_eq!((&net["name"], &net["type"]), (&"main".into(), &"user".into()));
    let passt = net["user"]["passt_pid"].as_u64().unwrap();
    assert_eq!(status(passt, "Uid").split_whitespace().next(), Some("65534"));
    assert_eq!(status(passt, "CapEff"), "0000000000000000");
    assert_private(&host.root());
    let dir = PathBuf::from(made[0]["dir"].as_str().unwrap());
    assert!(dir.join("passt-main.sock").exists());
    // Its VMM may connect to that, and there is nothing else that it could connect to.
    let bus = host.home.path("user/bus");
    let listener = std::os::unix::net::UnixListener::bind(&bus).unwrap();
    chown(&bus, Some(USER), Some(USER)).unwrap();
    let attempts = [
        Attempt::Connect(bus.clone()),
        Attempt::RingConnect(bus.clone()),
        Attempt::SendMessage(bus.clone()),
        Attempt::Abstract("virshle".into()),
        Attempt::RingUdp,
        // The directories above the machine's are in its view, and nothing else of what is in them.
        Attempt::Look(bus),
    ];
    let vmm = u32::try_from(made[0]["pid"].as_u64().unwrap()).unwrap();
    for thread in hijack(vmm, &attempts).unwrap() {
        assert!(thread.allowed().is_empty(), "{}: {:?}", thread.thread, thread.allowed());
    }
    drop(listener);
    let info = host.member("vm info web").stdout;
    for line in ["user network", ".2, ", ".15, dhcp", "main, 127.0.0.1:"] {
        assert!(info.contains(line), "{line}: {info}");
    }

    // Another one, with a port that is then taken.
    let other = host.member("vm create -t net -n 2 --start --json");
    assert_eq!(other.code, 1, "{other:?}");
    let other: serde_json::Value = serde_json::from_str(&other.stdout).unwrap();
    let errors: Vec<_> = other.as_array().unwrap().iter().map(|vm| &vm["error"]["code"]).collect();
    assert_eq!(errors.iter().filter(|code| **code == "port-taken").count(), 1, "{other}");

    // What was killed is found, and replaced.
    let pid = rustix::process::Pid::from_raw(i32::try_from(passt).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let check = host.member("node check");
    assert_eq!(check.code, 5, "{check:?}");
    let lapse = "machine web: no passt serves the user network main";
    assert!(check.stdout.contains(lapse), "{check:?}");
    let repaired = host.checked("node check --repair");
    let what = "no passt serves the user network main";
    assert_eq!(repaired["reconnected"], serde_json::json!([{ "vm": "web", "what": what }]));
    host.member_can("vm stop --force --all");
    assert!(!dir.join("passt-main.sock").exists());
    assert_private(&host.root());
    let check = host.checked("node check");
    assert_eq!(check["orphans"], serde_json::json!([]));
    assert_eq!(check["disconnected"], serde_json::json!([]));
}
