//! What a VMM that its guest has taken over, or a directory's owner, could put in the place of a
//! machine's files: it is neither followed, nor waited for, nor written to.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
