//! The help of every command, as it is printed. `UPDATE_SNAPSHOTS=1 cargo test` writes it anew.

use std::collections::BTreeSet;
use std::path::Path;

use crate::home::Home;

#[test]
fn the_help_of_every_command_is_as_it_was() {
    let home = Home::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let mut expected = BTreeSet::new();
    let mut commands = vec![Vec::<String>::new()];
    while let Some(command) = commands.pop() {
        let words: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = home.ok(&words.join(" "));
        let file = format!("{}.txt", [&["v".to_owned()], &command[..]].concat().join("-"));
        let path = folder.join(&file);
        if update {
            std::fs::write(&path, &help).unwrap();
        }
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(help, before, "{file}; UPDATE_SNAPSHOTS=1 writes it anew");
        expected.insert(file);
        for below in subcommands(&help) {
            commands.push([&command[..], &[below]].concat());
        }
    }
    assert!(expected.len() > 18, "{expected:?}");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if update && !expected.contains(&name) {
            std::fs::remove_file(folder.join(&name)).unwrap();
        } else {
            assert!(expected.contains(&name), "{name} is of no command");
        }
    }
}

/// The words below `Commands:`.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_line_of_help_is_without_a_period() {
    let home = Home::new();
    for words in ["--help", "vm --help", "vm create --help", "vm logs --help", "node --help"] {
        for line in home.ok(words).lines() {
            assert!(!line.ends_with('.') || line.ends_with("..."), "{line:?}");
        }
    }
}

#[test]
fn both_names_are_the_same_program() {
    let short = std::process::Command::new(env!("CARGO_BIN_EXE_v")).arg("--version").output();
    let long = std::process::Command::new(env!("CARGO_BIN_EXE_virshle")).arg("--version").output();
    let (short, long) = (short.unwrap(), long.unwrap());
    assert_eq!(short.stdout, long.stdout);
    assert_eq!(short.stdout, format!("v {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}
