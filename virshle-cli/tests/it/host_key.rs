//! Host keys on the first contact: the one of the seed, one over the machine's own vsock, and one that
//! only the network vouches for. The ssh and the server are OpenSSH's.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;
use virshle_testkit::{FakeVsock, NetNamespace, Sshd, seed_file};
use virshle_testkit_macros::test_on;

use crate::home::{Home, Ran, ran};

/// Where the guest is on the network.
const ADDRESS: &str = "192.0.2.10";

/// A network of its own in which a real server answers at the machine's address.
struct Lab {
    home: Home,
    sshd: Arc<Sshd>,
    /// It listens on the vsock of a port that is nobody's: the machine runs.
    _vsock: Option<FakeVsock>,
    server: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
    _namespace: NetNamespace,
}

impl Lab {
    /// With a machine `web` that has a seed, or none.
    fn new(seed: bool) -> Self {
        let namespace = NetNamespace::enter().unwrap();
        for arguments in ["addr add 192.0.2.10/32 dev lo", "link set lo up"] {
            assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success());
        }
        let home = Home::new();
        home.write_config(
            "[[template.vm]]\nname = \"net\"\nvcpu = 1\nvram = 1\n[[template.vm.net]]\nname = \"main\"\n\
             address = \"192.0.2.10/32\"\ntype = \"tap\"\n",
        );
        let refuse = if seed { "" } else { " --no-user-data" };
        home.ok(&format!("vm create -t net --name web{refuse}"));
        let sshd = Arc::new(Sshd::new().unwrap());
        let mut lab = Self { home, sshd, _vsock: None, server: None, _namespace: namespace };
        lab.listen_on_vsock(23);
        lab
    }

    fn listen_on_vsock(&mut self, port: u32) {
        let socket: PathBuf = self.home.json("vm info web")["vsock"].as_str().unwrap().into();
        self._vsock = None;
        let sshd = Arc::clone(&self.sshd);
        self._vsock = Some(FakeVsock::start(&socket, port, move |it| sshd.serve(it)).unwrap());
    }

    fn listen_on_network(&mut self) {
        let listener = TcpListener::bind((ADDRESS, 22)).unwrap();
        let (sshd, over) = (Arc::clone(&self.sshd), Arc::new(AtomicBool::new(false)));
        let is_over = Arc::clone(&over);
        let serve = move || {
            while let Ok((stream, _)) = listener.accept() {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                sshd.serve(stream).unwrap();
            }
        };
        self.server = Some((std::thread::spawn(serve), over));
    }

    fn dir(&self) -> PathBuf {
        self.home.json("vm info web")["dir"].as_str().unwrap().into()
    }

    fn known_hosts(&self) -> String {
        fs::read_to_string(self.dir().join("known_hosts")).unwrap_or_default()
    }

    /// The cloud-config of the seed's own.
    fn vendor_data(&self) -> Value {
        let text = seed_file(&self.dir().join("disk/seed"), "vendor-data").unwrap();
        serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap()
    }

    fn command(&self) -> Vec<String> {
        let identity = format!("IdentityFile={}", self.sshd.identity().display());
        ["vm", "ssh", "web", "-o", &identity, "-o", "BatchMode=yes", "--", "echo in"]
            .map(ToOwned::to_owned)
            .to_vec()
    }

    /// `v vm ssh web` where nobody can be asked.
    fn ssh(&self) -> Ran {
        let arguments = self.command();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let inner = self.home.command(&arguments);
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(inner.get_program()).args(inner.get_args());
        ran(with_environment(&mut command, &inner).stdin(Stdio::null()))
    }

    /// `v vm ssh web` on a terminal, at which `typed` is typed; what is shown there.
    fn ssh_on_a_terminal(&self, typed: &str) -> String {
        let arguments = self.command();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let inner = self.home.command(&arguments);
        let words: Vec<String> = std::iter::once(inner.get_program())
            .chain(inner.get_args())
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &words.join(" "), "/dev/null"]);
        let mut child = with_environment(&mut command, &inner)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(input);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some((server, over)) = self.server.take() {
            over.store(true, Ordering::SeqCst);
            drop(std::net::TcpStream::connect((ADDRESS, 22)));
            server.join().unwrap();
        }
    }
}

fn with_environment<'a>(command: &'a mut Command, inner: &Command) -> &'a mut Command {
    command.env_clear();
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.current_dir(inner.get_current_dir().unwrap_or(Path::new("/")))
}

#[test_on(Root, Sshd, CloudInitReader)]
fn root_the_key_of_the_seed_is_known_before_the_first_connection() {
    let mut lab = Lab::new(true);
    let config = lab.vendor_data();
    assert_eq!(config["ssh_deletekeys"], true);
    let keys = &config["ssh_keys"];
    let pinned = lab.known_hosts();
    assert_eq!(pinned.lines().count(), 1, "{pinned}");
    assert!(pinned.contains(keys["ed25519_public"].as_str().unwrap()), "{pinned}");
    assert!(!pinned.contains("PRIVATE"), "{pinned}");
    // Another host is at the machine's address, and nobody has been in the machine yet.
    lab.listen_on_network();
    let refused = lab.ssh();
    assert_eq!((refused.code, refused.stdout.as_str()), (255, ""), "{refused:?}");
    assert!(refused.stderr.contains("another host key than its seed gave it"), "{refused:?}");
    assert_eq!(lab.known_hosts(), pinned);
    let shown = lab.ssh_on_a_terminal("no\n");
    assert!(shown.contains("another host key than its seed gave it, at 192.0.2.10"), "{shown}");
    assert!(!shown.trim_end().ends_with("in"), "{shown}");
    // And now the machine itself.
    lab.sshd.use_host_key(keys["ed25519_private"].as_str().unwrap()).unwrap();
    let first = lab.ssh();
    assert_eq!((first.code, first.stdout.as_str(), first.stderr.as_str()), (0, "in\n", ""));
    lab.sshd.renew_host_key().unwrap();
    let changed = lab.ssh();
    assert_eq!(changed.code, 255, "{changed:?}");
    assert!(changed.stderr.contains("has shown another host key before"), "{changed:?}");
}

#[test_on(Root, Sshd)]
fn root_the_vsock_proves_the_key_of_a_guest_that_reads_no_seed() {
    let mut lab = Lab::new(true);
    lab.listen_on_vsock(22);
    let first = lab.ssh();
    assert_eq!((first.code, first.stdout.as_str(), first.stderr.as_str()), (0, "in\n", ""));
    // From now on it is known over the network as well, and no other is.
    lab.listen_on_vsock(23);
    lab.listen_on_network();
    let known = lab.ssh();
    assert_eq!((known.code, known.stderr.as_str()), (0, ""), "{known:?}");
    lab.sshd.renew_host_key().unwrap();
    assert_eq!(lab.ssh().code, 255);
}

#[test_on(Root, Sshd)]
fn root_a_key_that_came_over_the_network_is_asked_for_or_warned_of() {
    let mut lab = Lab::new(false);
    assert_eq!(lab.known_hosts(), "");
    lab.listen_on_network();
    let shown = lab.ssh_on_a_terminal("no\n");
    for text in ["machine web has no host key yet", "ED25519 key fingerprint is SHA256:", "yes/no"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.trim_end().ends_with("in"), "{shown}");
    assert_eq!(lab.known_hosts(), "");
    let shown = lab.ssh_on_a_terminal("yes\n");
    assert!(shown.trim_end().ends_with("? in"), "{shown}");
    assert!(lab.known_hosts().starts_with("virshle-"), "{}", lab.known_hosts());
    // It is asked for once.
    let known = lab.ssh();
    assert_eq!((known.code, known.stderr.as_str()), (0, ""), "{known:?}");
    fs::remove_file(lab.dir().join("known_hosts")).unwrap();
    let warned = lab.ssh();
    assert_eq!((warned.code, warned.stdout.as_str()), (0, "in\n"), "{warned:?}");
    let text =
        "nothing but the network says that it is the one which answers at 192.0.2.10 (static)";
    assert!(warned.stderr.contains(text), "{warned:?}");
}

#[test]
fn user_data_with_keys_of_its_own_wins() {
    let home = Home::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+";
    let text =
        format!("#cloud-config\nssh_keys: {{ed25519_private: x, ed25519_public: {key} a}}\n");
    fs::write(home.path("keys"), text).unwrap();
    fs::write(home.path("vendor"), "#cloud-config\nvendor_data: {enabled: false}\n").unwrap();
    fs::write(home.path("script"), "#!/bin/sh\n").unwrap();
    let pinned = |name: &str, arguments: &str| {
        home.ok(&format!("vm create -t bare --name {name} {arguments}"));
        let dir = home.json(&format!("vm info {name}"))["dir"].as_str().unwrap().to_owned();
        fs::read_to_string(PathBuf::from(dir).join("known_hosts")).unwrap_or_default()
    };
    let theirs = pinned("a", "--user-data keys --user-data script");
    assert!(theirs.contains(key) && theirs.lines().count() == 1, "{theirs}");
    assert_eq!(pinned("b", "--user-data vendor"), "");
    assert_eq!(pinned("c", "--no-user-data"), "");
    let ours = pinned("d", "--user-data script");
    assert!(ours.contains(" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"), "{ours}");
    assert_ne!(ours, pinned("e", "--user-data script"));
}
