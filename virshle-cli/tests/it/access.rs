//! Permissions under every umask, and secrets that must not leak.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::home::{Home, Ran, ran};

/// Runs `v` under another umask.
fn under(umask: &str, home: &Home, arguments: &str) -> Ran {
    let inner = home.command(&arguments.split(' ').collect::<Vec<_>>());
    let mut command = Command::new("sh");
    command.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(home.path(""));
    let ran = ran(&mut command);
    assert_eq!(ran.code, 0, "umask {umask}, v {arguments}: {ran:?}");
    ran
}

/// Everything below `path`, and itself.
pub(crate) fn everything_below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        found.extend(entries.flat_map(|entry| everything_below(&entry.unwrap().path())));
    }
    found
}

/// Asserts that directories can be entered by the group, and that files and sockets are private.
#[track_caller]
pub(crate) fn assert_private(root: &Path) {
    for path in everything_below(root) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let (kind, mode) = (metadata.file_type(), metadata.mode() & 0o7777);
        let fine = match () {
            () if kind.is_dir() => mode == 0o750,
            () if kind.is_socket() => mode & 0o7077 == 0,
            () => kind.is_file() && mode == 0o600,
        };
        assert!(fine, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["000", "022", "077", "777"] {
        let home = Home::new();
        under(umask, &home, "vm create -t disk -n 2 --name web");
        fs::write(home.path("me.toml"), "packages = [\"htop\"]\n").unwrap();
        under(umask, &home, "vm create -t disk --name db --user-data me.toml");
        under(umask, &home, "vm ls");
        assert_private(&home.root());
        under(umask, &home, "vm rm web-1 db");
        assert_private(&home.root());
    }
}

#[test]
fn directories_above_the_root_are_not_writable_by_all() {
    let home = Home::new();
    let root = home.path("a/b/root");
    under("000", &home, &format!("vm create -t bare --root {}", root.display()));
    assert_private(&root);
    for directory in ["a", "a/b"] {
        let mode = fs::metadata(home.path(directory)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o755, "{directory}");
    }
}

#[test]
fn user_data_is_in_the_seed_and_nowhere_else() {
    const SECRET: &str = "hunter2-correct-horse";
    let home = Home::new();
    fs::write(home.path("me"), format!("#cloud-config\npassword: {SECRET}\n")).unwrap();
    let arguments = ["-vvvv", "vm", "create", "-t", "disk", "--name", "web", "--user-data", "me"];
    let made = ran(home.command(&arguments).env("RUST_LOG", "trace"));
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.stderr.contains("DEBUG"), "{made:?}");
    let shown = home.run("-vvvv vm info web");
    for text in [&made.stdout, &made.stderr, &shown.stdout, &shown.stderr] {
        assert!(!text.contains(SECRET), "{text}");
    }
    let holders: Vec<_> = everything_below(&home.root())
        .into_iter()
        .filter(|path| path.is_file())
        .filter(|path| {
            let bytes = fs::read(path).unwrap();
            bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes())
        })
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(holders, ["seed"]);
}

#[test_on(Ch, Kvm)]
fn ch_a_running_machine_is_private_and_leaks_no_secret() {
    const SECRET: &str = "hunter2-correct-horse";
    let home = Home::new();
    let written = TestKernel::halt().write(&home.path("")).unwrap();
    fs::rename(written, home.path("kernel")).unwrap();
    fs::write(home.path("me"), format!("#cloud-config\npassword: {SECRET}\n")).unwrap();
    let program = std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into());
    home.write_config(&format!(
        "[hypervisor]\nprogram = {program:?}\n\
         [[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
         [[template.vm.disk]]\nname = \"os\"\npath = \"image.raw\"\n"
    ));
    for umask in ["000", "777"] {
        under(umask, &home, "vm create -t xs --name web --user-data me --start");
        assert_private(&home.root());
        let info = home.json("vm info web");
        let pid = info["pid"].as_u64().unwrap();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let log = fs::read(Path::new(info["dir"].as_str().unwrap()).join("ch.log")).unwrap();
        for bytes in [line, log] {
            assert!(!String::from_utf8_lossy(&bytes).contains(SECRET));
        }
        under(umask, &home, "vm stop --force web");
        assert_private(&home.root());
        under(umask, &home, "vm rm web");
    }
}
