//! When the output has colours.

use crate::home::{Home, ran};

#[test]
fn a_pipe_gets_no_colours() {
    let home = Home::new();
    home.ok("vm create -t bare");
    assert!(!home.ok("vm ls").contains('\x1b'));
    assert!(!home.run("vm start 9").stderr.contains('\x1b'));
    assert!(!home.run("vm nonsense").stderr.contains('\x1b'));
}

#[test]
fn colours_can_be_forced_and_disabled() {
    let home = Home::new();
    home.ok("vm create -t bare");
    let table = home.ok("vm ls --color always");
    // The alias bold magenta, the host bold green, a stopped machine dim.
    assert!(table.starts_with("\x1b[1m\x1b[35mdeku\x1b[0m"), "{table:?}");
    assert!(table.contains("\x1b[1m\x1b[32m"), "{table:?}");
    assert!(table.contains("\x1b[2mstopped"), "{table:?}");
    assert!(home.run("vm start 9 --color=always").stderr.starts_with("\x1b["));
    assert!(home.run("vm nonsense --color always").stderr.starts_with("\x1b["));
    assert!(!home.ok("vm ls --color never").contains('\x1b'));
}

#[test]
fn the_table_is_as_wide_with_colours_as_without() {
    let home = Home::new();
    home.ok("vm create -t bare -n 3");
    let mut colored = home.ok("vm ls --color always");
    while let Some(start) = colored.find('\x1b') {
        let end = start + colored[start..].find('m').unwrap();
        colored.replace_range(start..=end, "");
    }
    assert_eq!(colored, home.ok("vm ls"));
}

#[test]
fn no_color_is_honoured_unless_colours_are_forced() {
    let home = Home::new();
    let run = |arguments: &[&str]| ran(home.command(arguments).env("NO_COLOR", "1")).stdout;
    assert!(!run(&["vm", "ls"]).contains('\x1b'));
    assert!(run(&["vm", "ls", "--color", "always"]).contains('\x1b'));
}

#[test]
fn json_is_never_coloured() {
    let home = Home::new();
    home.ok("vm create -t bare");
    assert!(!home.ok("vm ls --json --color always").contains('\x1b'));
    assert!(!home.run("vm start 9 --json --color always").stderr.contains('\x1b'));
}
