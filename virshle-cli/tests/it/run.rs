//! `v run`: machines that are created, started, entered and removed in one command.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use virshle_testkit::{FakeVsock, Sshd, TestKernel};
use virshle_testkit_macros::test_on;

use crate::home::{Home, machines_below, ran};

/// How long the slowest of hosts gets.
const PATIENCE: Duration = Duration::from_secs(60);

/// A home whose template `bare` has a kernel that halts and no disk, and `xs` one with a disk.
fn home() -> Home {
    let home = Home::new();
    let kernel = TestKernel::halt().write(&home.path("")).unwrap();
    fs::rename(kernel, home.path("kernel")).unwrap();
    let program = std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into());
    home.write_config(&format!(
        "[network]\novsdb = \"unix:HOME/no-ovsdb.sock\"\npasst = \"HOME/no-passt\"\n\
         [hypervisor]\nprogram = {program:?}\n\
         [[template.vm]]\nname = \"bare\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\nnet = []\n\
         [[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\nnet = []\n\
         [[template.vm.disk]]\nname = \"os\"\npath = \"no-such.raw\"\nsize = \"3M\"\n"
    ));
    home
}

/// The vsock of the only machine, once it runs.
fn vsock(home: &Home) -> PathBuf {
    let until = Instant::now() + PATIENCE;
    loop {
        let machines = fs::read_dir(home.root().join("vm")).into_iter().flatten();
        let sockets = machines.map(|entry| entry.unwrap().path().join("net/ch.vsock"));
        if let Some(socket) = sockets.into_iter().find(|socket| socket.exists()) {
            return socket;
        }
        assert!(Instant::now() < until, "no machine runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A real ssh server, which lets the caller in by what is then the node's own key.
fn server(home: &Home) -> Arc<Sshd> {
    let sshd = Arc::new(Sshd::new().unwrap());
    let keys = home.root().join("ssh");
    fs::create_dir_all(&keys).unwrap();
    fs::copy(sshd.identity(), keys.join("id_ed25519")).unwrap();
    let public = Command::new("ssh-keygen").arg("-y").arg("-f").arg(sshd.identity()).output();
    fs::write(keys.join("id_ed25519.pub"), public.unwrap().stdout).unwrap();
    sshd
}

/// Lets it answer in place of the guest of the only machine, once that runs.
fn guest(home: &Home, sshd: &Arc<Sshd>) -> FakeVsock {
    let socket = vsock(home);
    fs::remove_file(&socket).unwrap();
    let sshd = Arc::clone(sshd);
    FakeVsock::start(&socket, 22, move |stream| sshd.serve(stream)).unwrap()
}

/// Runs `v` as a terminal's shell does: who runs the tests in the background ignores Ctrl-C.
fn spawn(home: &Home, arguments: &[&str]) -> Child {
    let v = home.command(arguments);
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,QUIT,HUP,TERM").arg(v.get_program()).args(v.get_args());
    command.env_clear().current_dir(home.path("")).stdin(Stdio::null());
    command.envs(v.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Asserts that no machine is left, and no VMM, within a while.
#[track_caller]
fn nothing_is_left(home: &Home) {
    let until = Instant::now() + PATIENCE;
    while machines_below(&home.root()) > 0 {
        assert!(Instant::now() < until, "{}", home.ok("vm ls -v"));
        std::thread::sleep(Duration::from_millis(50));
    }
    let root = home.root().display().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        fs::read(path.join("cmdline")).ok()
    });
    for line in processes {
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        assert!(!line.contains(&format!("{root}/vm/")), "{line}");
    }
}

#[test]
fn what_cannot_be_run_is_reported_and_leaves_nothing() {
    let home = home();
    for (arguments, code, texts) in [
        ("run", 2, ["IMAGE|TEMPLATE", ""]),
        ("run nosuch", 3, ["no image \"nosuch\" in the catalogue", "v image ls --remote"]),
        ("run --rm debain", 3, ["did you mean \"debian\"?", ""]),
        ("run debian:7", 3, ["there are debian:13, debian:12", ""]),
        ("run ../a/b:c", 3, ["b:c", ""]),
        ("run --rm -s xl image.raw", 3, ["no image \"image.raw\"", ""]),
        ("run --rm -s xl ./image.raw", 3, ["no template \"xl\"", "hint: "]),
        ("run --rm ./nothing.raw", 3, ["nothing.raw", ""]),
        ("run --rm -d ./image.raw", 2, ["--rm", "--detach"]),
        ("run --json ./image.raw", 2, ["has no JSON output", "omit --json"]),
        ("run --name a/b ./image.raw", 2, ["a/b", ""]),
    ] {
        home.run(arguments).fails_with(code, &texts);
        nothing_is_left(&home);
    }
}

#[test_on(Ch, Kvm)]
fn kvm_ch_a_detached_machine_runs_on_with_its_image() {
    let home = home();
    let shown = home.ok("run -d --name web -t xs ./image.raw");
    assert!(shown.contains("web") && shown.contains("running"), "{shown}");
    let info = home.json("vm info web");
    assert_eq!(info["template"], "xs");
    let disk = &info["disks"][0];
    assert_eq!(disk["source"], home.path("image.raw").display().to_string());
    assert_eq!(disk["size"], 3 << 20);
    home.run("run --name web -t xs ./image.raw -- true").fails_with(6, &["web"]);
    home.ok("vm rm --force web");
    // Of the cache, with another size.
    home.ok("image import image.raw --name golden");
    let document = home.json("run -d --name db --disk 5M -t xs golden");
    assert_eq!(document[0]["state"], "running");
    assert_eq!(home.json("vm info db")["disks"][0]["size"], 5 << 20);
    home.ok("vm rm --force db");
    nothing_is_left(&home);
}

#[test_on(Ch, Kvm, Sshd)]
fn kvm_ch_a_command_passes_its_exit_code_on_and_its_machine_goes() {
    let home = home();
    let sshd = server(&home);
    let run = ["run", "--rm", "bare", "--", "echo hello; echo no >&2; exit 7"];
    let child = spawn(&home, &run);
    let guest = guest(&home, &sshd);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b"hello\n"[..]), "{stderr}");
    assert!(stderr.contains("no\n"), "{stderr}");
    drop(guest);
    nothing_is_left(&home);
    // Without --rm the machine runs on, and its exit code is passed on as well.
    let child = spawn(&home, &["run", "--name", "web", "bare", "--", "exit 3"]);
    let guest = self::guest(&home, &sshd);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(home.json("vm info web")["state"], "running");
    let again = ran(&mut home.command(&["ssh", "web", "--", "echo again"]));
    assert_eq!((again.code, again.stdout.as_str()), (0, "again\n"), "{again:?}");
    drop(guest);
    home.ok("vm rm --force web");
    nothing_is_left(&home);
}

#[test_on(Ch, Kvm)]
fn kvm_ch_a_machine_to_be_removed_goes_whatever_ends_its_command() {
    let home = home();
    // A guest that never answers.
    let waiting = ["run", "--rm", "--timeout", "1s", "bare", "--", "true"];
    let failed = ran(&mut home.command(&waiting));
    assert_ne!(failed.code, 0, "{failed:?}");
    nothing_is_left(&home);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let mut child = spawn(&home, &["run", "--rm", "bare", "--", "true"]);
        vsock(&home);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert!(!child.wait().unwrap().success(), "{signal:?}");
        nothing_is_left(&home);
    }
    // A start that fails.
    home.write_config(
        "[hypervisor]\nprogram = \"HOME/no-cloud-hypervisor\"\n[[template.vm]]\nname = \"bare\"\n\
         vcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\nnet = []\n",
    );
    home.run("run --rm bare -- true").fails_with(5, &["cannot run"]);
    nothing_is_left(&home);
}

#[test_on(Ch, Kvm, Sshd)]
fn kvm_ch_an_interrupted_session_ends_and_its_machine_goes() {
    let home = home();
    let sshd = server(&home);
    let mut child = spawn(&home, &["run", "--rm", "bare", "--", "echo up; exec sleep 600"]);
    let guest = guest(&home, &sshd);
    let mut first = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"up\n");
    // As a terminal sends it, to both: the session's ssh is a child of the command.
    let pid = Pid::from_child(&child);
    let children = format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero());
    let ssh = fs::read_to_string(children).unwrap();
    for one in ssh.split_whitespace() {
        let comm = fs::read_to_string(format!("/proc/{one}/comm")).unwrap_or_default();
        if comm.trim() == "ssh" {
            kill_process(Pid::from_raw(one.parse().unwrap()).unwrap(), Signal::INT).unwrap();
        }
    }
    kill_process(pid, Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_some_and(|code| code != 0), "{status:?}");
    drop(guest);
    nothing_is_left(&home);
}
