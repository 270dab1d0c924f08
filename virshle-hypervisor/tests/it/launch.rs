//! Starts that fail, and what a started process is like.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use virshle_hypervisor::{Client, HypervisorError, Launch, Vmm};
use virshle_testkit::FakeProgram;
use virshle_testkit_macros::test_on;

use crate::machine::{Machine, SOON, chain, launch, program};

fn fails(directory: &Path, program: &Path) -> HypervisorError {
    let socket = directory.join("ch.sock");
    let launch = Launch::new(program, &socket).log_file(directory.join("ch.log"));
    let error = launch.start_timeout(SOON).spawn().unwrap_err();
    assert!(!socket.exists(), "{error}");
    error
}

#[test]
fn a_program_that_isnt_there_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let error = fails(directory.path(), Path::new("/nowhere/cloud-hypervisor"));
    assert_eq!(error.to_string(), "cannot run /nowhere/cloud-hypervisor");
    assert!(error.hint().unwrap().starts_with("install cloud-hypervisor"));
    let error = fails(directory.path(), Path::new("no-such-program-in-path"));
    assert!(matches!(error, HypervisorError::Run { .. }), "{error:?}");
}

#[test]
fn a_program_that_isnt_executable_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("cloud-hypervisor");
    std::fs::write(&program, "text").unwrap();
    let error = fails(directory.path(), &program);
    assert!(matches!(error, HypervisorError::Run { .. }), "{error:?}");
}

#[test]
fn a_program_that_dies_leaves_its_log_tail() {
    let directory = tempfile::tempdir().unwrap();
    let program = FakeProgram::dies("Error: no /dev/kvm here", 3).write(directory.path()).unwrap();
    let error = fails(directory.path(), &program);
    let HypervisorError::Died { status, .. } = &error else { panic!("{error:?}") };
    assert_eq!(status.unwrap().code(), Some(3));
    let chain = chain(&error);
    assert!(chain[0].ends_with(" ended while it started (exit status: 3)"), "{chain:?}");
    assert_eq!(chain[1], "Error: no /dev/kvm here");
}

/// Regression: its usage text was all that was reported (8000759).
#[test]
fn a_program_too_old_to_know_its_arguments_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let script = "[ \"$1\" != --version ] || echo 'cloud-hypervisor v30.0'\n\
                  [ \"$1\" = --version ] || exit 2";
    let program = FakeProgram::script(script).write(directory.path()).unwrap();
    let error = fails(directory.path(), &program);
    assert!(matches!(error, HypervisorError::TooOld { .. }), "{error:?}");
    assert_eq!(error.hint().as_deref(), Some("install a newer cloud-hypervisor"));
}

#[test]
fn a_program_that_is_killed_differs_from_one_that_ends() {
    let directory = tempfile::tempdir().unwrap();
    let program = FakeProgram::script("kill -SYS $$").write(directory.path()).unwrap();
    let HypervisorError::Died { status, .. } = fails(directory.path(), &program) else { panic!() };
    assert_eq!(status.unwrap().signal(), Some(31));
}

#[test]
fn a_program_that_never_answers_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    let note = directory.path().join("pid");
    let script = format!("echo $$ > {}\nexec sleep 60", note.display());
    let program = FakeProgram::script(&script).write(directory.path()).unwrap();
    let launch = Launch::new(&program, &socket);
    // Longer on a host so busy that the program didn't get to write its note.
    let pid = [300, 3_000, 30_000].into_iter().find_map(|milliseconds| {
        let timeout = Duration::from_millis(milliseconds);
        let error = launch.clone().start_timeout(timeout).spawn().unwrap_err();
        assert!(error.timed_out(), "{error:?}");
        std::fs::read_to_string(&note).ok().filter(|pid| pid.ends_with('\n'))
    });
    let pid = pid.expect("the program never ran");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    // Gone, or dead and not yet taken away by the host's first process.
    assert!(stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z ")));
    assert!(!socket.exists());
}

#[test]
fn what_isnt_a_socket_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ch.sock");
    std::fs::write(&path, "precious").unwrap();
    let error = Launch::new(Path::new("true"), &path).spawn().unwrap_err();
    assert!(matches!(error, HypervisorError::Bind { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_log_that_cant_be_created_leaves_no_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    let log = directory.path().join("absent/ch.log");
    let error = Launch::new(Path::new("true"), &socket).log_file(&log).spawn().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}", log.display()));
    assert!(!socket.exists());
}

#[test]
fn a_socket_with_a_listener_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ch.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = Launch::new(Path::new("true"), &path).spawn().unwrap_err();
    let HypervisorError::InUse { pid, .. } = error else { panic!("{error:?}") };
    assert_eq!(pid, std::process::id());
    assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
}

#[test]
fn a_path_too_long_for_a_socket_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x".repeat(110));
    let error = Launch::new(Path::new("true"), &path).spawn().unwrap_err();
    assert!(matches!(error, HypervisorError::Bind { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("107 bytes"), "{:?}", error.hint());
}

#[test_on(Ch, Kvm)]
fn ch_invalid_arguments_are_reported_with_cloud_hypervisors_message() {
    let directory = tempfile::tempdir().unwrap();
    let error = launch(directory.path()).argument("--nonsense").spawn().unwrap_err();
    let HypervisorError::Died { status, .. } = &error else { panic!("{error:?}") };
    assert_eq!(status.unwrap().code(), Some(2));
    assert!(chain(&error).iter().any(|line| line.contains("--nonsense")), "{error:?}");
}

/// Regression: a second start put the log of a running process aside (ff2043e).
#[test_on(Ch, Kvm)]
fn ch_a_stale_socket_and_old_logs_dont_hinder() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    virshle_testkit::stale_socket(&socket).unwrap();
    std::fs::write(directory.path().join("ch.log"), "the run before").unwrap();
    std::fs::write(directory.path().join("events.json"), "its events").unwrap();
    let info = virshle_hypervisor::Verbosity::Info;
    let vmm = launch(directory.path()).verbosity(info).spawn().unwrap();
    let machine = Machine { directory, vmm };
    assert_eq!(std::fs::read(machine.path("ch.log.1")).unwrap(), b"the run before");
    assert_eq!(std::fs::read(machine.path("events.json.1")).unwrap(), b"its events");
    assert!(machine.log().contains("starting"));
    for name in ["ch.sock", "ch.log", "events.json"] {
        let metadata = std::fs::metadata(machine.path(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        assert_eq!(metadata.file_type().is_socket(), name == "ch.sock");
    }
    let error = launch(machine.directory.path()).spawn().unwrap_err();
    let HypervisorError::InUse { pid, .. } = error else { panic!("{error:?}") };
    assert_eq!(pid, machine.vmm.pid());
    assert!(machine.client().ping().is_ok());
    // What runs keeps its files.
    assert_eq!(std::fs::read(machine.path("ch.log.1")).unwrap(), b"the run before");
    assert!(machine.log().contains("starting"));
}

/// Not a test of its own: the program that embeds the crate, in
/// `ch_the_process_outlives_its_starter`.
#[test]
#[ignore = "needs cloud-hypervisor"]
fn ch_starter_that_ends_at_once() {
    let Some(directory) = std::env::var_os("VIRSHLE_TEST_STARTER") else { return };
    let directory = Path::new(&directory);
    // A descriptor that the process must not inherit, though nothing forbids it to.
    let leak = std::fs::File::create(directory.join("leak")).unwrap();
    let leak = rustix::io::dup(&leak).unwrap();
    let vmm = launch(directory).spawn().unwrap();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let children: String = tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap())
        .collect();
    assert_eq!(children, "", "children, or zombies, are left");
    std::fs::write(directory.join("pid"), vmm.pid().to_string()).unwrap();
    drop(leak);
}

#[test_on(Ch, Kvm)]
fn ch_the_process_outlives_its_starter() {
    let directory = tempfile::tempdir().unwrap();
    let starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "launch::ch_starter_that_ends_at_once", "--ignored"])
        .env("VIRSHLE_TEST_STARTER", directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let vmm = Vmm::find(&directory.path().join("ch.sock"), &program()).unwrap();
    let vmm = vmm.expect("the process ended with its starter");
    let machine = Machine { directory, vmm };
    let output = String::from_utf8_lossy(&starter.stdout);
    assert!(starter.status.success(), "{output}");
    let pid = machine.vmm.pid();
    assert_eq!(std::fs::read_to_string(machine.path("pid")).unwrap(), pid.to_string());
    assert_eq!(machine.client().ping().unwrap().pid, Some(pid.into()));

    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let (group, session, terminal) = (fields[2], fields[3], fields[4]);
    assert_eq!((group, session, terminal), (&*pid.to_string(), &*pid.to_string(), "0"));
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("fd/0"), Path::new("/dev/null"));
    assert_eq!(link("fd/1"), machine.path("ch.log"));
    assert_eq!(link("cwd"), Path::new("/"));
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap();
        assert_ne!(target, machine.path("leak"));
        assert!(!target.to_string_lossy().starts_with("pipe:"), "{}", target.display());
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    // SIGPIPE and SIGCHLD: cloud-hypervisor's own doing.
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & !(1 << 12 | 1 << 16);
    assert_eq!(ignored, 0, "signals are ignored");
    let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:\t")).unwrap();
    assert!(["0", "2"].contains(&seccomp));
}

#[test_on(Ch, Kvm)]
fn ch_the_kernel_shows_the_process_and_not_its_starter_as_the_server() {
    let machine = Machine::start();
    let ping = Client::connect(machine.vmm.api_socket(), SOON).unwrap().ping().unwrap();
    assert_eq!(ping.pid, Some(machine.vmm.pid().into()));
    assert_ne!(machine.vmm.pid(), std::process::id());
}

/// What stays in cloud-hypervisor's place would be taken for another program by every later command.
#[test_on(Ch)]
fn ch_a_wrapper_that_stays_is_refused_and_ended_with_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let real = program();
    let quoted = real.display();
    let staying = FakeProgram::script(&format!("\"{quoted}\" \"$@\"")).write(directory.path());
    let staying = staying.unwrap();
    let error = fails(directory.path(), &staying);
    assert!(matches!(error, HypervisorError::Wrapped { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("exec cloud-hypervisor"), "{error}");
    let all_ended =
        || Vmm::all_under(directory.path()).unwrap().iter().all(|vmm| vmm.wait_exit(SOON));
    assert!(all_ended());
    // One that becomes it is fine.
    let exec = FakeProgram::script(&format!("exec \"{quoted}\" \"$@\""));
    let exec = exec.write(directory.path()).unwrap();
    let socket = directory.path().join("ch.sock");
    let vmm = Launch::new(&exec, &socket).start_timeout(SOON).spawn().unwrap();
    let vmm = vmm.kill_on_drop();
    assert_eq!(Vmm::find(&socket, &exec).unwrap().unwrap().pid(), vmm.pid());
}
