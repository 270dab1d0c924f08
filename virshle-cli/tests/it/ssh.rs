//! Sessions in a machine by the system's ssh: the machine's vsock is a socket that speaks
//! cloud-hypervisor's handshake, and the ssh server behind it is a real one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use virshle_testkit::{FakeVsock, NetNamespace, Sshd};
use virshle_testkit_macros::test_on;

use crate::home::{Home, Ran, ran};

/// A home with the machine `web`, whose vsock leads to a real ssh server.
struct Lab {
    home: Home,
    sshd: Arc<Sshd>,
    vsock: Option<FakeVsock>,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { home: Home::new(), sshd: Arc::new(Sshd::new().unwrap()), vsock: None };
        lab.home.ok("vm create -t bare --name web");
        lab
    }

    /// The same, with its ssh server listening.
    fn up() -> Self {
        let mut lab = Self::new();
        lab.listen(22);
        lab
    }

    /// Lets the ssh server listen on `port` of the guest's vsock.
    fn listen(&mut self, port: u32) {
        let sshd = Arc::clone(&self.sshd);
        let socket = self.vsock();
        self.vsock = None;
        self.vsock =
            Some(FakeVsock::start(&socket, port, move |stream| sshd.serve(stream)).unwrap());
    }

    fn vsock(&self) -> PathBuf {
        self.home.json("vm info web")["vsock"].as_str().unwrap().into()
    }

    /// The one setting that users have in their own files: the key they log in with.
    fn identity(&self) -> String {
        format!("IdentityFile={}", self.sshd.identity().display())
    }

    /// `v vm ssh web` with more arguments.
    fn ssh(&self, arguments: &[&str]) -> Ran {
        let identity = self.identity();
        let first = ["vm", "ssh", "web", "-o", &identity, "-o", "BatchMode=yes"];
        ran(&mut self.home.command(&[&first[..], arguments].concat()))
    }

    /// A program of OpenSSH whose whole configuration is what `v node ssh-config` prints.
    fn openssh(&self, program: &str, arguments: &[&str]) -> Ran {
        let config = self.home.path("ssh_config");
        let lines = self.home.ok("node ssh-config");
        fs::write(&config, format!("{lines}{}\nBatchMode yes\n", self.identity())).unwrap();
        let mut command = Command::new(program);
        command
            .arg("-F")
            .arg(config)
            .args(arguments)
            .env("HOME", self.home.path(""))
            .stdin(Stdio::null());
        ran(&mut command)
    }
}

#[track_caller]
fn says(ran: &Ran, stdout: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (0, stdout), "{ran:?}");
}

#[test_on(Sshd)]
fn ssh_a_session_goes_over_the_vsock_and_ends_as_its_command_does() {
    let lab = Lab::up();
    let first = lab.ssh(&["--", "echo", "hello from", "$((6*7))"]);
    says(&first, "hello from 42\n");
    // A machine of one's own is no stranger, not even the first time.
    assert_eq!(first.stderr, "");
    let failed = lab.ssh(&["--", "echo no >&2; exit 7"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (7, ""), "{failed:?}");
    assert!(failed.stderr.contains("no\n"), "{failed:?}");
    // What looks like an option is an argument for the guest.
    let version = lab.ssh(&["--", "-V"]);
    assert!(!version.stderr.contains("OpenSSH"), "{version:?}");
    // Of another user the server knows nothing.
    let stranger = lab.ssh(&["-l", "no-such-user", "--", "true"]);
    assert_eq!(stranger.code, 255, "{stranger:?}");
    assert!(stranger.stderr.contains("no-such-user@vm/web: Permission denied"), "{stranger:?}");
    let dir = PathBuf::from(lab.home.json("vm info web")["dir"].as_str().unwrap());
    let keys = fs::read_to_string(dir.join("known_hosts")).unwrap();
    assert!(keys.starts_with("virshle-"), "{keys}");
    assert_eq!(keys.lines().count(), 1, "{keys}");
}

#[test_on(Sshd)]
fn ssh_input_of_any_size_comes_back_whole() {
    let lab = Lab::up();
    let bytes: Vec<u8> =
        (0..5_000_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
    for option in ["ProxyUseFdpass=yes", "ProxyUseFdpass=no"] {
        let identity = lab.identity();
        let arguments = ["vm", "ssh", "web", "-o", option, "-o", &identity, "--", "cat"];
        let mut child = lab
            .home
            .command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || input.write_all(&sent));
        let mut back = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
        writer.join().unwrap().unwrap();
        assert!(child.wait().unwrap().success());
        assert!(back == bytes, "{option}: {} bytes of {}", back.len(), bytes.len());
    }
}

#[test_on(Sshd, Rsync)]
fn ssh_the_printed_configuration_serves_ssh_scp_and_rsync() {
    let lab = Lab::up();
    says(&lab.openssh("ssh", &["vm/web", "echo hello"]), "hello\n");
    says(&lab.openssh("ssh", &["vm/1", "echo by id"]), "by id\n");
    let from = lab.home.path("from file");
    let to = lab.home.path("to");
    fs::write(&from, "carried").unwrap();
    let remote = format!("vm+web:{}", to.display());
    says(&lab.openssh("scp", &["-q", from.to_str().unwrap(), &remote]), "");
    assert_eq!(fs::read_to_string(&to).unwrap(), "carried");
    let back = lab.home.path("back");
    says(&lab.openssh("scp", &["-q", &remote, back.to_str().unwrap()]), "");
    assert_eq!(fs::read_to_string(&back).unwrap(), "carried");
    let mirror = lab.home.path("mirror");
    let remote = format!("vm+web:{}/", mirror.display());
    let shell = format!("ssh -F {}", lab.home.path("ssh_config").display());
    let rsync =
        |arguments: &[&str]| ran(Command::new("rsync").args(["-a", "-e", &shell]).args(arguments));
    fs::create_dir(lab.home.path("site")).unwrap();
    fs::write(lab.home.path("site/index.html"), "mirrored").unwrap();
    says(&rsync(&[lab.home.path("site/").to_str().unwrap(), &remote]), "");
    assert_eq!(fs::read_to_string(mirror.join("index.html")).unwrap(), "mirrored");
    let copy = lab.home.path("copy");
    says(&rsync(&[&remote, copy.to_str().unwrap()]), "");
    assert_eq!(fs::read_to_string(copy.join("index.html")).unwrap(), "mirrored");
    let absent = lab.openssh("ssh", &["vm/db", "true"]);
    assert_eq!(absent.code, 255, "{absent:?}");
    assert!(absent.stderr.contains("error: no machine \"db\""), "{absent:?}");
}

#[test_on(Sshd)]
fn ssh_host_keys_are_recorded_per_machine_not_per_name() {
    let mut lab = Lab::up();
    says(&lab.openssh("ssh", &["vm/web", "true"]), "");
    // What one way has learnt the other knows.
    let known = lab.ssh(&["--", "true"]);
    says(&known, "");
    assert_eq!(known.stderr, "");
    // The machine has another key of a sudden: no connection is let through.
    lab.sshd.renew_host_key().unwrap();
    for ran in [lab.ssh(&["--", "true"]), lab.openssh("ssh", &["vm/web", "true"])] {
        assert_eq!(ran.code, 255, "{ran:?}");
        assert!(ran.stderr.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{ran:?}");
    }
    // A new machine of the same name has a new key by right.
    lab.vsock = None;
    lab.home.ok("vm rm web");
    lab.home.ok("vm create -t bare --name web");
    lab.listen(22);
    let fresh = lab.openssh("ssh", &["vm/web", "echo new"]);
    says(&fresh, "new\n");
    assert_eq!(fresh.stderr, "");
    let fresh = lab.ssh(&["--", "true"]);
    says(&fresh, "");
    assert_eq!(fresh.stderr, "");
}

#[test_on(Root, Sshd)]
fn root_ssh_goes_over_the_network_where_the_guest_has_no_vsock() {
    let _namespace = NetNamespace::enter().unwrap();
    let added = Command::new("ip").args(["addr", "add", "192.0.2.10/32", "dev", "lo"]).status();
    assert!(added.unwrap().success());
    let mut lab = Lab::new();
    lab.home.write_config(
        "[[template.vm]]\nname = \"net\"\nvcpu = 1\nvram = 1\n[[template.vm.net]]\nname = \"main\"\n\
         address = [\"192.0.2.9/32\", \"192.0.2.10/32\"]\n[template.vm.net.type.tap]\n",
    );
    lab.home.ok("vm rm web");
    lab.home.ok("vm create -t net --name web");
    // By its vsock its key is known, before it listens elsewhere there.
    lab.listen(22);
    says(&lab.ssh(&["--", "true"]), "");
    lab.listen(23);
    let unreachable = lab.ssh(&["--timeout", "0", "--", "true"]);
    assert_eq!(unreachable.code, 255, "{unreachable:?}");
    for text in ["vsock: no process listens", "192.0.2.10 (static): Connection refused", "hint: "] {
        assert!(unreachable.stderr.contains(text), "{unreachable:?}");
    }
    let listener = TcpListener::bind("192.0.2.10:22").unwrap();
    let sshd = Arc::clone(&lab.sshd);
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            sshd.serve(listener.accept().unwrap().0).unwrap();
        }
    });
    says(&lab.ssh(&["--", "echo", "$SSH_CONNECTION | cut -d' ' -f3,4"]), "192.0.2.10 22\n");
    says(&lab.openssh("ssh", &["vm/web", "echo hello"]), "hello\n");
    assert_eq!(lab.home.ok("vm wait web"), "reached web\n");
    server.join().unwrap();
}

#[test_on(Sshd)]
fn ssh_is_waited_for_while_the_machine_comes_up() {
    let mut lab = Lab::new();
    let waiting = lab
        .home
        .command(&["vm", "wait", "web", "--timeout", "30s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // First it is off, then its guest listens nowhere, then it does.
    lab.listen(23);
    drop(UnixStream::connect(lab.vsock()).unwrap());
    lab.vsock = None;
    lab.listen(22);
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"reached web\n");
}

/// Regression: `v vm create --start && v vm ssh` failed (2d4ddb4).
#[test_on(Sshd)]
fn ssh_right_after_a_start_waits_for_the_server() {
    let mut lab = Lab::new();
    let sshd = Arc::clone(&lab.sshd);
    let asked = AtomicU32::new(0);
    // What listens hangs up at first, as a server does that has no keys yet.
    let guest = FakeVsock::start(&lab.vsock(), 22, move |stream| {
        if asked.fetch_add(1, Ordering::SeqCst) % 4 < 3 { Ok(()) } else { sshd.serve(stream) }
    });
    lab.vsock = Some(guest.unwrap());
    for ran in [lab.ssh(&["--", "echo there"]), lab.openssh("ssh", &["vm/web", "echo there"])] {
        says(&ran, "there\n");
        // stderr is no terminal: there is no text but ssh's own.
        assert!(!ran.stderr.contains("waiting"), "{ran:?}");
    }
    // A caller who does not wait gets what there is: nothing.
    assert_eq!(lab.ssh(&["--timeout", "0", "--", "true"]).code, 255);
}

#[test]
fn a_stopped_machine_cannot_be_connected_to() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    home.run("vm ssh web").fails_with(6, &["cannot connect to machine web: it is stopped"]);
    home.run("vm ssh web -- true").fails_with(6, &["hint: v vm start web"]);
    home.run("vm proxy vm/web").fails_with(6, &["it is stopped"]);
    home.run("vm ssh db").fails_with(3, &["no machine \"db\""]);
    for what in ["boot", "address", "ssh"] {
        let began = Instant::now();
        let ran = home.run(&format!("vm wait web --for {what} --timeout 50ms"));
        ran.fails_with(1, &[&format!("no {what} after 0.05 s"), "it is stopped"]);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    home.run("vm wait web --for peace").fails_with(2, &["boot", "address", "ssh"]);
}

#[test]
fn the_proxy_relays_bytes_and_their_ends_both_ways() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    let vsock: PathBuf = home.json("vm info web")["vsock"].as_str().unwrap().into();
    // It answers only when it has received everything, as no ssh server does.
    let _guest = FakeVsock::start(&vsock, 7, |mut stream| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        received.reverse();
        stream.write_all(&received)
    })
    .unwrap();
    for arguments in [
        &["vm", "proxy", "web", "--port", "7"][..],
        &["vm", "proxy", "--fdpass", "vm+web", "--port", "7"],
    ] {
        let mut child =
            home.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || input.write_all(&vec![b'a'; 1 << 20]));
        let mut answer = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
        writer.join().unwrap().unwrap();
        assert_eq!(answer.len(), 1 << 20);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn the_configuration_of_ssh_is_installed_once() {
    let home = Home::new();
    let lines = home.ok("node ssh-config");
    let root = format!("--root {}", home.root().display());
    assert!(lines.contains("\nHost vm/* vm+* \"!*'*\"\n") && lines.contains(&root), "{lines}");
    let would = home.ok("node ssh-config --install --dry-run");
    assert_eq!(
        would.lines().filter(|line| line.starts_with("would create ")).count(),
        2,
        "{would}"
    );
    assert!(!home.path(".ssh").exists());
    let created = home.ok("node ssh-config --install");
    let count = created.lines().filter(|line| line.starts_with("created ")).count();
    assert_eq!(count, 2, "{created}");
    assert_eq!(fs::read_to_string(home.path(".ssh/config.d/virshle")).unwrap(), lines);
    let again = home.ok("node ssh-config --install");
    assert_eq!(again.lines().filter(|line| line.starts_with("exists ")).count(), 2);
    assert_eq!(home.json("node ssh-config --install")[0]["outcome"], "there");
    let mut homeless = home.command(&["node", "ssh-config", "--install"]);
    ran(homeless.env_remove("HOME")).fails_with(5, &["HOME is not set"]);
}

/// Regression: root with another user's HOME wrote where that user's links led.
#[test_on(Root)]
fn root_installs_nothing_in_a_home_that_is_another_users() {
    let home = Home::new();
    let victim = home.path("victim");
    fs::write(&victim, "theirs").unwrap();
    let foreign = home.path("foreign");
    fs::create_dir_all(foreign.join(".ssh")).unwrap();
    std::os::unix::fs::symlink(&victim, foreign.join(".ssh/config")).unwrap();
    std::os::unix::fs::chown(&foreign, Some(65533), Some(65533)).unwrap();
    for options in [&["--install"][..], &["--install", "--dry-run"]] {
        let mut command = home.command(&[&["node", "ssh-config"], options].concat());
        ran(command.env("HOME", &foreign)).fails_with(1, &["home of user 65533", "set HOME"]);
    }
    assert_eq!(fs::read_to_string(victim).unwrap(), "theirs");
    assert_eq!(fs::read_dir(foreign.join(".ssh")).unwrap().count(), 1);
}

/// Regression: of a configuration that another program makes, the hint was to run as its owner.
#[test]
fn a_configuration_that_cannot_be_written_is_left_to_what_makes_it() {
    let home = Home::new();
    fs::create_dir(home.path(".ssh")).unwrap();
    // As one of a Nix store: it is read, and no program creates a file beside it.
    std::os::unix::fs::symlink("/sys/kernel/fscaps", home.path(".ssh/config")).unwrap();
    let ran = home.run("node ssh-config --install");
    ran.fails_with(
        5,
        &["cannot write /sys/kernel/fscaps", "\"Include config.d/virshle\" put first"],
    );
    assert!(!ran.stderr.contains("--root"), "{ran:?}");
    assert!(home.path(".ssh/config.d/virshle").exists());
}
