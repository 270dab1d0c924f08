//! What a shell offers, asked for as each shell does.

use std::process::Command;

use crate::home::{Home, ran};

/// What `v` offers for the last of the words, one a line.
fn offered(home: &Home, words: &[&str]) -> Vec<String> {
    let arguments: Vec<&str> = ["--", "v"].iter().chain(words).copied().collect();
    let mut command = home.command(&arguments);
    command.env("VIRSHLE_COMPLETE", "bash").env("_CLAP_IFS", "\n");
    let ran = ran(command.env("_CLAP_COMPLETE_INDEX", words.len().to_string()));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}: {ran:?}");
    ran.stdout.lines().map(ToOwned::to_owned).collect()
}

/// A home with the machines `web-1`, `web-2` and `db`, and with the program in its `bin`.
fn home() -> Home {
    let home = Home::new();
    home.ok("vm create -t bare --name web -n 2");
    home.ok("vm create -t disk --name db");
    std::fs::create_dir(home.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_v"), home.path("bin/v")).unwrap();
    home
}

/// What a shell's script prints, if this host has the shell.
fn shell(home: &Home, program: &[&str], script: &str) -> Option<String> {
    let inner = home.command(&[]);
    let path = format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).arg(script);
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", path).current_dir(home.path(""));
    let ran = command.output().ok().map(|_| ran(&mut command))?;
    assert!(ran.stderr.is_empty(), "{program:?}: {ran:?}");
    Some(ran.stdout)
}

#[test]
fn names_are_offered_where_they_are_wanted() {
    let home = home();
    for words in [
        &["vm", "start", ""][..],
        &["start", ""],
        &["vm", "rm", "--name", ""],
        &["vm", "ssh", ""],
        &["--quiet", "logs", "-f", ""],
    ] {
        let offered = offered(&home, words);
        for name in ["web-1", "web-2", "db"] {
            assert!(offered.contains(&name.to_owned()), "{words:?}: {offered:?}");
        }
    }
    assert_eq!(offered(&home, &["vm", "start", "w"]), ["web-1", "web-2"]);
    assert_eq!(offered(&home, &["vm", "info", "--id", ""]), ["1", "2", "3"]);
    assert_eq!(offered(&home, &["vm", "info", "--uuid", ""]).len(), 3);
    assert_eq!(offered(&home, &["vm", "create", "-t", "b"]), ["bare"]);
    assert_eq!(offered(&home, &["vm", "ls", "--template", "d"]), ["disk"]);
    assert_eq!(offered(&home, &["template", "show", "sh"]), ["short"]);
    assert_eq!(offered(&home, &["vm", "ls", "--state", "st"]), ["stopped"]);
    assert_eq!(offered(&home, &["vm", "create", "--user-data", "imag"]), ["image.raw"]);
    home.ok("image import image.raw --name debian");
    assert_eq!(offered(&home, &["image", "rm", ""])[0], "debian");
    // Of the node that the line names.
    let elsewhere = home.path("elsewhere").display().to_string();
    home.ok(&format!("--root {elsewhere} vm create -t bare --name far"));
    assert_eq!(offered(&home, &["--root", &elsewhere, "vm", "stop", "f"]), ["far"]);
    assert_eq!(offered(&home, &["stop", &format!("--root={elsewhere}"), "f"]), ["far"]);
}

#[test]
fn commands_are_offered_and_hidden_ones_are_not() {
    let home = home();
    let vm = offered(&home, &["vm", ""]);
    assert!(vm.contains(&"start".into()) && !vm.contains(&"proxy".into()), "{vm:?}");
    assert!(!vm.contains(&"delete".into()), "{vm:?}");
    assert_eq!(offered(&home, &["vm", "res"]), ["restart", "resume"]);
    // The verbs of `v vm` without it.
    assert_eq!(offered(&home, &["cre"]), ["create"]);
    assert_eq!(offered(&home, &["vm", "stop", "--ti"]), ["--timeout"]);
}

#[test]
fn nothing_is_said_into_a_prompt() {
    let home = home();
    home.write_config("[node\n");
    assert!(offered(&home, &["vm", "start", "web"]).is_empty());
    home.write_config("");
    let none = home.path("none").display().to_string();
    assert!(offered(&home, &["--root", &none, "vm", "start", "web"]).is_empty());
}

#[test]
fn hosts_are_named_as_ssh_is_asked_for_them() {
    let home = home();
    assert_eq!(home.ok("vm hosts"), "vm/web-1\nvm/web-2\nvm/db\n");
    assert_eq!(home.ok("vm hosts vm+w"), "vm+web-1\nvm+web-2\n");
    assert_eq!(home.json("vm hosts vm/d"), serde_json::json!(["vm/db"]));
}

#[test]
fn bash_completes() {
    let home = home();
    let script = "source <(v completions bash); COMP_WORDS=(v vm start w); COMP_CWORD=3; COMP_TYPE=9; \
                  _clap_complete_v v w start; printf '%s\\n' \"${COMPREPLY[@]}\"; \
                  COMP_WORDS=(ssh vm/d); COMP_CWORD=1; COMPREPLY=(); __virshle_ssh ssh vm/d ssh; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"; complete -p ssh";
    let printed = shell(&home, &["bash", "--norc", "-c"], script).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(&lines[..3], ["web-1", "web-2", "vm/db"], "{printed}");
    assert!(lines[3].contains("__virshle_ssh"), "{printed}");
    // Another host is completed by what the shell had for ssh before.
    let script = "_before() { COMPREPLY=(known.example); }; _completion_loader() { complete -F _before ssh; }; \
                  source <(v completions bash); COMP_WORDS=(ssh kn); COMP_CWORD=1; \
                  __virshle_ssh ssh kn ssh; echo \"${COMPREPLY[@]}\"; complete -p ssh";
    let printed = shell(&home, &["bash", "--norc", "-c"], script).unwrap();
    assert!(
        printed.starts_with("known.example\n") && printed.contains("__virshle_ssh"),
        "{printed}"
    );
}

#[test]
fn fish_and_zsh_complete() {
    let home = home();
    let fish = "v completions fish | source; complete -C 'v vm start w'; complete -C 'ssh vm/d'";
    if let Some(printed) = shell(&home, &["fish", "--no-config", "-c"], fish) {
        assert!(printed.contains("web-1") && printed.contains("web-2"), "{printed}");
        assert!(printed.contains("vm/db"), "{printed}");
    }
    let zsh = "autoload -U compinit; compinit -u -D; source <(v completions zsh); \
               echo $_comps[v] $_comps[ssh]";
    if let Some(printed) = shell(&home, &["zsh", "-f", "-c"], zsh) {
        assert!(printed.contains("_virshle_ssh"), "{printed}");
        assert_eq!(printed.split_whitespace().count(), 2, "{printed}");
    }
}
