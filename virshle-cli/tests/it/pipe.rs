//! Closed pipes and full disks.

use std::fs::File;
use std::io::pipe;

use crate::home::{Home, ran};

#[test]
fn a_closed_pipe_is_success() {
    let home = Home::new();
    home.ok("vm create -t bare -n 3");
    for arguments in [
        "vm ls",
        "vm ls --json",
        "vm info 1",
        "vm stop --all",
        "template ls",
        "node info",
        "completions bash",
        "man",
        "--help",
        "--version",
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let child = home.command(&arguments).stdout(writer).status().unwrap();
        assert_eq!(child.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_closed_pipe_keeps_no_machine_from_its_turn() {
    let home = Home::new();
    home.ok("vm create -t bare -n 5");
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let status = home.command(&["vm", "rm", "--all"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(home.json("vm ls"), serde_json::json!([]));
}

#[test]
fn a_full_output_is_an_error() {
    let home = Home::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["vm", "ls"][..], &["vm", "ls", "--json"], &["man"]] {
        let output = home.command(arguments).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("cannot write to the standard output"), "{stderr}");
    }
    // An error stream that takes nothing is no reason to panic.
    let status = home.command(&["vm", "start", "9"]).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(ran(&mut home.command(&["vm", "ls"])).code, 0);
}
