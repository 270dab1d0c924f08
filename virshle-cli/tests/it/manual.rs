//! Manual pages and completions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::home::{Home, Ran, ran};

/// Runs a shell line in a terminal of its own, with a `man` of the test's that writes what it is given
/// to the file `shown`.
fn in_a_terminal(home: &Home, program: &str, arguments: &str) -> Ran {
    let programs = home.path("bin");
    fs::create_dir_all(&programs).unwrap();
    let man = programs.join("man");
    fs::write(&man, program).unwrap();
    fs::set_permissions(&man, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let inner = home.command(&[]);
    let line = format!("{} {arguments}", inner.get_program().to_str().unwrap());
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ran(command.env("PATH", path).current_dir(home.path("")).stdin(Stdio::null()))
}

#[test]
fn the_manual_page_has_the_sections_that_people_look_for() {
    let page = Home::new().ok("man");
    assert!(page.contains(".TH v 1"), "{page}");
    for section in ["ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
        assert!(
            page.contains(&format!(".SH \"{section}\""))
                || page.contains(&format!(".SH {section}")),
            "{section}: {page}"
        );
    }
    assert!(!page.contains("EXTRA"), "{page}");
}

#[test]
fn every_command_has_a_page_where_man_finds_it() {
    let home = Home::new();
    assert_eq!(home.ok("man --dir share/man"), "");
    let directory = home.path("share/man/man1");
    for name in ["v", "v-vm", "v-vm-create", "v-vm-ls", "v-node-check", "v-completions"] {
        let page = fs::read_to_string(directory.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&name.replace('-', "\\-")), "{name}");
        // The same page by the command's name.
        let command = name.replace('-', " ");
        assert_eq!(home.ok(&format!("man {command}")), page, "{name}");
    }
    // Commands that help does not list are of no concern to readers.
    assert!(!directory.join("v-vm-proxy.1").exists());
    // A directory that is the section's own gets no other in it.
    home.ok("man --dir share/man/man1");
    assert!(!directory.join("man1").exists());
    home.run("man --dir image.raw").fails_with(1, &["cannot write", "image.raw"]);
    home.run("man vm nonsense").fails_with(2, &["there is no command \"vm nonsense\""]);
    let mut man = Command::new("man");
    man.arg("-w").arg("v-vm-ls").env("MANPATH", home.path("share/man"));
    if man.output().is_ok() {
        assert_eq!(ran(&mut man).stdout.trim(), directory.join("v-vm-ls.1").display().to_string());
    }
}

#[test]
fn a_terminal_gets_a_page_and_no_roff() {
    let home = Home::new();
    let shown = in_a_terminal(&home, "#!/bin/sh\necho \"args $*\"; cat >shown\n", "man vm ls");
    assert!(shown.code == 0 && shown.stdout.contains("args -l -"), "{shown:?}");
    assert_eq!(fs::read_to_string(home.path("shown")).unwrap(), home.ok("man vm ls"));
    // A man that can't read a page from its input.
    let help = in_a_terminal(&home, "#!/bin/sh\nexit 1\n", "man vm ls");
    assert!(help.code == 0 && help.stdout.contains("Usage: v vm ls"), "{help:?}");
}

#[test]
fn every_shell_has_completions_for_both_names() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.ok(&format!("completions {shell}"));
        assert!(script.contains("virshle") && script.contains("VIRSHLE_COMPLETE"), "{shell}");
    }
}
