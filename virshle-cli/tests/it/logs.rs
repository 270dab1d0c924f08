//! Logs, printed and followed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::home::Home;

/// Ends its process, also when a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn directory(home: &Home, name: &str) -> PathBuf {
    home.json(&format!("vm info {name}"))["dir"].as_str().unwrap().into()
}

#[test]
fn a_pipe_gets_a_log_as_it_is() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    std::fs::write(directory(&home, "web").join("serial.log"), "one\r\n\x1b[2Jtwo").unwrap();
    std::fs::write(directory(&home, "web").join("ch.log"), "vmm\n").unwrap();
    assert_eq!(home.ok("vm logs web"), "one\r\n\x1b[2Jtwo");
    assert_eq!(home.ok("vm logs web --serial"), "one\r\n\x1b[2Jtwo");
    assert_eq!(home.ok("vm logs --id 1 --vmm"), "vmm\n");
    let json = home.json("vm logs web");
    assert_eq!(json[0]["text"], "one\r\n\x1b[2Jtwo");
    assert_eq!(json[0]["log"], "serial");
    assert!(home.json("vm logs web --events")[0]["text"].is_null());
}

#[test]
fn the_last_lines_of_a_log_are_enough() {
    let home = Home::new();
    home.ok("vm create -t bare -n 2 --name web");
    std::fs::write(directory(&home, "web-1").join("serial.log"), "one\ntwo\nthree\n").unwrap();
    assert_eq!(home.ok("vm logs web-1 --tail 2"), "two\nthree\n");
    assert_eq!(home.ok("vm logs -n 9 web-1"), "one\ntwo\nthree\n");
    assert_eq!(home.ok("vm logs -n 0 web-1"), "");
    assert_eq!(home.json("vm logs -n 1 web-1")[0]["text"], "three\n");
    assert!(home.json("vm logs -n 1 web-2")[0]["text"].is_null());
    home.run("vm logs web-1 -n few").fails_with(2, &["few"]);
}

#[test]
fn an_empty_log_suggests_the_other_logs() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    let ran = home.run("vm logs web");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert!(ran.stderr.contains("--vmm or --events"), "{ran:?}");
}

#[test]
fn logs_of_several_machines_are_headed_by_their_names() {
    let home = Home::new();
    home.ok("vm create -t bare -n 2 --name web");
    for name in ["web-1", "web-2"] {
        std::fs::write(directory(&home, name).join("serial.log"), format!("from {name}\n"))
            .unwrap();
    }
    assert_eq!(
        home.ok("vm logs --all"),
        "==> web-1 <==\nfrom web-1\n\n==> web-2 <==\nfrom web-2\n"
    );
}

#[test]
fn following_continues_until_the_reader_is_gone() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    let path = directory(&home, "web").join("serial.log");
    let mut follow = home.command(&["vm", "logs", "-f", "web"]);
    let mut child = Running(follow.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    // The log begins after the wait for it, or before: both are seen.
    let mut log = File::create(&path).unwrap();
    for line in ["one", "two"] {
        writeln!(log, "{line}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), line);
    }
    // The next run of the machine begins the log anew.
    File::create(&path).unwrap().write_all(b"3\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "3");
    drop(lines);
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn following_ends_with_the_machine() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    std::fs::write(directory(&home, "web").join("serial.log"), "up\n").unwrap();
    let mut follow = home.command(&["vm", "logs", "--follow", "web"]);
    let mut child = Running(follow.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    home.ok("vm rm web");
    assert!(lines.next().is_none());
    assert!(child.0.wait().unwrap().success());
}
