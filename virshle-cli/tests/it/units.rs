//! The units of systemd that the packages install.

use std::path::{Path, PathBuf};
use std::process::Command;

fn units() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let mut units: Vec<PathBuf> = [directory.clone(), directory.join("user")]
        .iter()
        .flat_map(|directory| std::fs::read_dir(directory).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    units.sort();
    units
}

/// The commands that the units run are commands of `v`, with the arguments that they give.
#[test]
fn every_command_of_a_unit_is_one() {
    let home = crate::home::Home::new();
    let mut count = 0;
    for unit in units() {
        let text = std::fs::read_to_string(&unit).unwrap();
        let commands = text.lines().filter_map(|line| line.strip_prefix("Exec")?.split_once('='));
        for (_, command) in commands {
            // A dash: its failure is no reason to do without what follows.
            let words: Vec<&str> = command.trim_start_matches('-').split(' ').collect();
            assert_eq!(words[0], "/usr/bin/v", "{}", unit.display());
            let verb: Vec<&str> =
                words[1..].iter().copied().filter(|word| !word.starts_with('%')).collect();
            home.ok(&format!("{} --help", verb.join(" ")));
            count += 1;
        }
    }
    assert!(count >= 9, "{count} commands");
}

/// `systemd-analyze verify`, where it is installed.
#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: needs systemd-analyze");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for user in [false, true] {
        let mut names = Vec::new();
        for unit in units() {
            if (unit.parent().unwrap().file_name().unwrap() == "user") != user {
                continue;
            }
            let name = unit.file_name().unwrap().to_str().unwrap();
            // The program of a package is not installed here; any is as good.
            let text = std::fs::read_to_string(&unit).unwrap().replace("/usr/bin/v", "/bin/true");
            let directory = folder.path().join(if user { "user" } else { "system" });
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(name), text).unwrap();
            names.push(directory.join(name.replace("@.", "@instance.")));
        }
        assert!(names.len() >= 3, "{names:?}");
        let mut command = Command::new("systemd-analyze");
        command.args(["verify", "--man=no", if user { "--user" } else { "--system" }]);
        let output = command.args(&names).env("HOME", folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        // What it says of other units of this host is none of ours.
        let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("virshle")).collect();
        assert!(of_ours.is_empty(), "{of_ours:#?}");
    }
}
