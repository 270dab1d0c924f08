//! What is removed, what is left, and that a verb says which.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use virshle_testkit::{FuseFilesystem, MountNamespace};
use virshle_testkit_macros::test_on;

use crate::home::{Home, ran};

fn directory(home: &Home, name: &str) -> PathBuf {
    home.json(&format!("vm info {name}"))["dir"].as_str().unwrap().into()
}

/// What is left of machines.
fn left(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.root().join("vm")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test_on(Root)]
fn root_what_is_mounted_in_a_machines_directory_outlives_it() {
    let mounts = MountNamespace::enter().unwrap();
    let home = Home::new();
    home.ok("vm create -t disk --name web");
    let theirs = home.path("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("file"), "theirs").unwrap();
    let machine = directory(&home, "web");
    mounts.bind(&theirs, &machine.join("tmp")).unwrap();
    home.run("vm rm web").fails_with(1, &["is removed, but not all of its files", "mounted"]);
    assert_eq!(fs::read(theirs.join("file")).unwrap(), b"theirs");
    home.run("vm info web").fails_with(3, &[]);
    // Nor does any later verb, and a repair says that it can't.
    home.ok("vm create -t bare --name other");
    let ran = home.run("node check --repair");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("mounted") && !ran.stdout.contains("removed"), "{ran:?}");
    assert_eq!(fs::read(theirs.join("file")).unwrap(), b"theirs");
    let gone: Vec<String> = left(&home).into_iter().filter(|name| name.starts_with(".")).collect();
    let [gone] = gone.as_slice() else { panic!("{gone:?}") };
    mounts.unmount(&home.root().join("vm").join(gone).join("tmp")).unwrap();
    let ran = home.run("node check --repair");
    assert!(ran.stdout.contains("removed folder"), "{ran:?}");
    assert_eq!(left(&home).len(), 1);
}

/// An immutable file, until this is dropped.
struct Immutable(PathBuf);

impl Drop for Immutable {
    fn drop(&mut self) {
        chattr("-i", &self.0);
    }
}

fn chattr(flag: &str, path: &Path) -> bool {
    Command::new("chattr").arg(flag).arg(path).stderr(Stdio::null()).status().unwrap().success()
}

#[test_on(Root)]
fn root_what_cannot_be_removed_is_reported_by_the_verb_and_by_the_repair() {
    let home = Home::new();
    home.ok("vm create -t disk --name web");
    let machine = directory(&home, "web");
    let disk = machine.join("disk/os");
    if !chattr("+i", &disk) {
        eprintln!("this filesystem has no immutable files");
        return;
    }
    let gone = home
        .root()
        .join("vm")
        .join(format!(".gone-{}", machine.file_name().unwrap().to_str().unwrap()));
    let held = Immutable(gone.join("disk/os"));
    home.run("vm rm web").fails_with(
        1,
        &["machine web is removed, but not all of its files", "disk/os", "lsattr", "chattr -i"],
    );
    assert_eq!(fs::read_dir(&gone).unwrap().count(), 1, "what can be removed is");
    let ran = home.run("node check --repair");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(!ran.stdout.contains("removed"), "{ran:?}");
    assert!(ran.stderr.contains("cannot remove") && ran.stderr.contains("lsattr"), "{ran:?}");
    drop(held);
    let ran = home.run("node check --repair");
    assert!(ran.stdout.contains("removed folder"), "{ran:?}");
    assert!(left(&home).is_empty());
}

#[test_on(Fuse)]
fn fuse_a_node_on_a_filesystem_without_modern_calls_works_and_leaves_nothing() {
    let filesystem = FuseFilesystem::mount().unwrap();
    let home = Home::new();
    let root = filesystem.path().join("root");
    let v = |arguments: &str| {
        let mut command = home.command(&arguments.split(' ').collect::<Vec<_>>());
        let ran = ran(command.env("VIRSHLE_ROOT", &root));
        assert_eq!(ran.code, 0, "v {arguments}: {ran:?}");
        ran
    };
    v("image import image.raw");
    v("vm create -t disk -n 3 --name web");
    fs::write(home.path("small.toml"), "x").unwrap();
    v("vm rm web-1 web-2");
    // One that is not created after all.
    let mut command = home.command(&["vm", "create", "-t", "short"]);
    assert_eq!(ran(command.env("VIRSHLE_ROOT", &root)).code, 1);
    v("vm rm web-3");
    v("image rm image");
    assert_eq!(fs::read_dir(root.join("vm")).unwrap().count(), 0);
    let names = |path: &Path| -> Vec<_> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    for path in [root.clone(), root.join("cache")] {
        let hidden = names(&path).iter().any(|name| name.to_string_lossy().contains("hidden"));
        assert!(!hidden, "{:?}", names(&path));
    }
}

/// A process that looks like a VMM, of whatever user; ended with this.
struct Lookalike(Child);

impl Lookalike {
    fn start(uid: u32, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.arg0("cloud-hypervisor").args(["-c", "read line", "x"]).args(arguments);
        let child = command.uid(uid).gid(uid).stdin(Stdio::piped()).spawn().unwrap();
        Self(child)
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Lookalike {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Regression: any process called cloud-hypervisor that named a file below the root was killed.
#[test_on(Root)]
fn root_a_repair_ends_only_what_the_node_itself_has_started() {
    const STRANGER: u32 = 65533;
    const MACHINE: u32 = 65532;
    let home = Home::new();
    home.ok("vm create -t disk --name web");
    let machine = directory(&home, "web").display().to_string();
    chown(Path::new(&machine).join("disk"), Some(MACHINE), Some(MACHINE)).unwrap();
    let image = format!("path={}", home.root().join("cache/debian").display());
    let socket = format!("fd=9,path={machine}/ch.sock");
    let elsewhere = format!("path={}/vm/x.sock", home.path("other").display());
    let mut others = [
        // Another user's machine on an image of the cache, with a socket elsewhere or none.
        Lookalike::start(STRANGER, &["--disk", &image, "--api-socket", &elsewhere]),
        Lookalike::start(0, &["--disk", &image, "--api-socket", &elsewhere]),
        Lookalike::start(STRANGER, &["--disk", &image]),
        // Another user's process that claims to be a machine's.
        Lookalike::start(STRANGER, &["--api-socket", &socket]),
    ];
    let mut own = [
        Lookalike::start(0, &["--api-socket", &socket]),
        Lookalike::start(MACHINE, &["--api-socket", &socket]),
    ];
    let ran = home.run("node check --repair");
    for other in &mut others {
        assert!(other.runs(), "{:?}: {ran:?}", other.0);
    }
    for own in &mut own {
        assert!(!own.runs(), "{:?}: {ran:?}", own.0);
        let pid = own.0.id().to_string();
        assert!(ran.stdout.contains(&format!("pid {pid}")), "{ran:?}");
    }
    home.ok("vm rm web");
}
