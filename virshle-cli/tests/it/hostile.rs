//! What a VMM that its guest has taken over, or a directory's owner, could put in the place of a
//! machine's files: it is neither followed, nor waited for, nor written to.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use virshle_testkit_macros::test_on;

use crate::home::{Home, Ran, ran};

/// Longer than a log may be: it would be cut.
const LONG: u64 = 20 << 20;

fn directory(home: &Home, name: &str) -> PathBuf {
    home.json(&format!("vm info {name}"))["dir"].as_str().unwrap().into()
}

fn fifo(path: &Path) {
    drop(std::fs::remove_file(path));
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs `v` with a deadline: one that waits for a FIFO waits for ever.
#[track_caller]
fn soon(home: &Home, arguments: &str) -> Ran {
    let mut command = home.command(&arguments.split(' ').collect::<Vec<_>>());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            drop(child.kill());
            panic!("v {arguments} waits");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_link_in_the_place_of_a_log_leads_to_no_other_file() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    let victim = home.path("victim");
    std::fs::write(&victim, "HEAD of another file\n").unwrap();
    std::fs::File::options().write(true).open(&victim).unwrap().set_len(LONG).unwrap();
    let directory = directory(&home, "web");
    for log in ["serial.log", "ch.log", "events.json", "serial.log.1"] {
        for link in [symlink::<&Path, PathBuf>, std::fs::hard_link::<&Path, PathBuf>] {
            let log = directory.join(log);
            link(&victim, log.clone()).unwrap();
            for verb in ["vm ls -v", "vm info web", "vm logs web", "vm logs web --vmm"] {
                let ran = soon(&home, verb);
                assert!(!ran.stdout.contains("HEAD"), "{verb}: {ran:?}");
            }
            std::fs::remove_file(log).unwrap();
        }
    }
    symlink(&victim, directory.join("serial.log")).unwrap();
    soon(&home, "vm logs web").fails_with(1, &["serial.log", "it is a link"]);
    soon(&home, "vm logs web --json").fails_with(1, &["it is a link"]);
    assert_eq!(victim.metadata().unwrap().len(), LONG);
    assert!(std::fs::read(&victim).unwrap().starts_with(b"HEAD"));
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_waited_for_by_no_verb() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    let directory = directory(&home, "web");
    for file in ["serial.log", "ch.log", "events.json", "run.json", "known_hosts"] {
        let path = directory.join(file);
        fifo(&path);
        for verb in ["vm ls -v", "vm info web", "vm start web", "vm known-hosts web", "node check"]
        {
            soon(&home, verb);
        }
        for log in ["", " --vmm", " --events", " --json"] {
            soon(&home, &format!("vm logs web{log}"));
        }
        drop(std::fs::remove_file(path));
    }
}

#[test]
fn a_lock_that_is_another_file_is_not_written_to() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    let (lock, victim) = (directory(&home, "web").join("lock"), home.path("victim"));
    std::fs::write(&victim, "theirs").unwrap();
    for link in [symlink::<&Path, &Path>, std::fs::hard_link::<&Path, &Path>] {
        drop(std::fs::remove_file(&lock));
        link(&victim, &lock).unwrap();
        let ran = ran(&mut home.command(&["vm", "rm", "web"]));
        ran.fails_with(1, &["cannot lock"]);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
    }
}

/// A user who is not root, and owns what they shouldn't.
const STRANGER: u32 = 65533;

/// What another user can do with a file or a directory.
#[derive(Clone, Copy)]
enum Access {
    Owns,
    WritesByGroup,
    Writes,
}

impl Access {
    const ALL: [Self; 3] = [Self::Owns, Self::WritesByGroup, Self::Writes];

    fn why(self) -> &'static str {
        match self {
            Self::Owns => "belongs to user 65533",
            Self::WritesByGroup => "group can write",
            Self::Writes => "every user can write",
        }
    }

    fn give(self, path: &Path) {
        match self {
            Self::Owns => chown(path, Some(STRANGER), None).unwrap(),
            Self::WritesByGroup => set_mode(path, 0o770),
            Self::Writes => set_mode(path, 0o707),
        }
    }
}

fn take_back(path: &Path) {
    chown(path, Some(0), None).unwrap();
    set_mode(path, if path.is_dir() { 0o750 } else { 0o600 });
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test_on(Root)]
fn root_does_nothing_by_what_another_user_can_change() {
    let home = Home::new();
    let (program, ran_program) = (home.path("no-cloud-hypervisor"), home.path("ran"));
    std::fs::write(&program, format!("#!/bin/sh\ntouch {}\nexec true\n", ran_program.display()))
        .unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    home.ok("vm create -t disk --name web");
    let machine = directory(&home, "web");
    for place in [home.config(), home.root(), home.root().join("vm"), home.root().join("cache")] {
        for access in Access::ALL {
            access.give(&place);
            let why = access.why();
            let shown = place.display().to_string();
            for verb in [
                "vm ls",
                "vm info web",
                "vm start web",
                "vm rm web",
                "vm create -t disk",
                "vm logs web",
                "image ls",
                "image import image.raw",
                "node init",
                "node init --dry-run",
                "node info",
            ] {
                let ran = soon(&home, verb);
                ran.fails_with(5, &[&shown, "is not trusted", why, "chown root:root"]);
            }
            let ran = soon(&home, "node check --repair");
            assert_eq!(ran.code, 5, "{ran:?}");
            assert!(ran.stdout.contains(&shown) && ran.stdout.contains(why), "{ran:?}");
            take_back(&place);
        }
    }
    // One machine's directory keeps no other from its work.
    home.ok("vm create -t bare --name other");
    for place in [machine.clone(), machine.join("vm.toml")] {
        for access in Access::ALL {
            access.give(&place);
            let why = access.why();
            let ran = soon(&home, "vm ls");
            assert!(ran.stdout.contains("other") && !ran.stdout.contains("web"), "{ran:?}");
            assert!(ran.stderr.contains(why), "{ran:?}");
            assert_eq!(soon(&home, "vm start --uuid 0").code, 3);
            let ran = soon(&home, "node check");
            assert!(ran.stdout.contains(why), "{ran:?}");
            take_back(&place);
        }
    }
    home.ok("vm rm web");
    assert!(ran_program.exists(), "a check of what is trusted runs the program");
    std::fs::remove_file(&ran_program).unwrap();
    Access::Owns.give(&home.config());
    soon(&home, "node check");
    assert!(!ran_program.exists(), "a program that another user named was run");
}
