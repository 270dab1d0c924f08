//! The help of every command, short and long, as it is printed. `UPDATE_SNAPSHOTS=1 cargo test` writes
//! it anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::home::Home;

/// The options that print help, each with the name of its snapshots.
const HELPS: [(&str, &str); 2] = [("-h", "short"), ("--help", "long")];

/// The commands that no help lists.
const HIDDEN: [&str; 9] = [
    "vm reap",
    "vm proxy",
    "vm known-hosts",
    "vm hosts",
    "node boot",
    "node shutdown",
    "node ended",
    "node heal",
    "node restart",
];

/// The widest line of short help, in columns: what a terminal has at least.
const WIDTH: usize = 100;

/// Every command, as its arguments separated by spaces, from `v` itself on.
fn commands(home: &Home) -> Vec<String> {
    let mut commands = vec![String::new()];
    let mut next = 0;
    while let Some(command) = commands.get(next).cloned() {
        let help = home.ok(format!("{command} -h").trim());
        commands.extend(subcommands(&help).map(|name| format!("{command} {name}").trim().into()));
        next += 1;
    }
    commands.extend(HIDDEN.map(String::from));
    commands
}

/// The names below `Commands:`.
fn subcommands(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let entries = lines.take_while(|line| !line.is_empty());
    // A line that is indented further continues the one before.
    let entries = entries.filter_map(|line| line.strip_prefix("  "));
    entries.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next())
}

fn snapshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots")
}

#[test]
fn the_help_of_every_command_matches_its_snapshot() {
    let home = Home::new();
    let directory = snapshots();
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let mut expected = BTreeSet::new();
    for command in commands(&home) {
        for (option, kind) in HELPS {
            let help = home.ok(format!("{command} {option}").trim());
            let name = format!("v {command}").trim().replace(' ', "-");
            let file = format!("{name}.{kind}.txt");
            let path = directory.join(&file);
            if update {
                std::fs::write(&path, &help).unwrap();
            }
            let before = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(help, before, "{file}; UPDATE_SNAPSHOTS=1 writes it anew");
            expected.insert(file);
        }
    }
    assert!(expected.len() > 36, "{expected:?}");
    for entry in std::fs::read_dir(&directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if update && !expected.contains(&name) {
            std::fs::remove_file(directory.join(&name)).unwrap();
        } else {
            assert!(expected.contains(&name), "{name} is of no command");
        }
    }
}

#[test]
fn help_has_no_final_periods_and_fits_a_terminal() {
    let home = Home::new();
    for command in commands(&home) {
        for (option, kind) in HELPS {
            let help = home.ok(format!("{command} {option}").trim());
            let footer = help.find("\n`v <COMMAND> -h`").unwrap_or(help.len());
            for line in help[..footer].lines() {
                assert!(
                    !line.ends_with('.') || line.ends_with("..."),
                    "{command} {kind}: {line:?}"
                );
                let width = line.chars().count();
                assert!(line.starts_with("Usage") || width <= WIDTH, "{command} {kind}: {line:?}");
            }
        }
    }
}

/// Long help says what short help does, and more.
#[test]
fn the_summary_of_a_command_is_one_line() {
    let home = Home::new();
    for command in commands(&home) {
        let [short, long] = HELPS.map(|(option, _)| home.ok(format!("{command} {option}").trim()));
        let (summary, rest) = short.split_once("\n\n").unwrap();
        assert!(!summary.contains('\n') && summary.len() <= 80, "{command}: {summary:?}");
        assert!(rest.starts_with("Usage: "), "{command}: {short}");
        assert!(long.starts_with(summary), "{command}: {long}");
        assert!(long.lines().count() > short.lines().count(), "{command}: {long}");
    }
}

#[test]
fn an_option_is_below_its_own_heading() {
    let home = Home::new();
    let below = |command: &str, heading: &str| -> Vec<String> {
        let help = home.ok(format!("{command} -h").trim());
        let lines = help.lines().skip_while(|line| *line != heading).skip(1);
        let options = lines.take_while(|line| !line.is_empty());
        let names = options.flat_map(str::split_whitespace).filter(|text| text.starts_with("--"));
        names.map(ToOwned::to_owned).collect()
    };
    assert_eq!(below("vm config", "Machine:"), ["--id", "--name", "--uuid"]);
    assert_eq!(below("vm config", "Options:"), ["--command", "--vmm", "--help"]);
    assert_eq!(below("vm ls", "Machines:"), ["--state", "--template"]);
    let globals = ["--config", "--root", "--json", "--verbose...", "--quiet", "--color"];
    for command in commands(&home) {
        assert_eq!(below(&command, "Global options:"), globals, "{command}");
        let help = home.ok(format!("{command} -h").trim());
        let last = help.lines().rfind(|line| line.ends_with(':'));
        assert_eq!(last, Some("Global options:"), "{command}");
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
