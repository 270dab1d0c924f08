//! What to type instead: answers to commands and options that `v` does not have.
//!
//! clap suggests what is spelt alike, which for a verb may be the opposite of what was meant: `stop`
//! for `top`. Here a verb that changes a machine is only suggested for an obvious slip, and the
//! verbs of other programs are answered by what does the same.

use std::iter;

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The verbs of other programs that are none of `v`, each with what to type.
///
/// What means the same as a verb of `v` is an alias of it. What destroys more, or less, than its
/// namesake is here: no user should lose a disk by a guess.
const VERBS: &[(&[&str], &str)] = &[
    (
        &["destroy", "undefine", "terminate", "erase"],
        "`v vm stop --force MACHINE` cuts the power, `v vm rm MACHINE` removes a machine and its disks",
    ),
    (&["kill", "poweroff", "halt"], "`v vm stop --force MACHINE` cuts the power"),
    (
        &["status", "stat", "state", "domstate"],
        "`v vm ls` lists the states of all machines, `v vm info MACHINE` shows one",
    ),
    (
        &["top", "stats", "domstats"],
        "`v vm ls -v` lists machines with their processes and addresses",
    ),
    (&["exec", "execute", "enter", "run-command"], "`v vm ssh MACHINE -- COMMAND` runs a command"),
    (
        &["attach", "serial", "vnc", "viewer"],
        "`v vm console MACHINE` attaches to the serial console",
    ),
    (
        &["clone", "copy", "fork", "duplicate"],
        "machines are created from templates: `v vm create -t TEMPLATE -n COUNT`",
    ),
    (
        &["rename", "edit", "set", "update", "modify", "resize", "setmem", "setvcpus"],
        "a machine keeps the definition it was created with: change its template, and create another",
    ),
    (
        &["snapshot", "checkpoint", "restore", "revert", "backup", "export", "commit"],
        "there are no snapshots: stop the machine, and copy its directory (`v vm info MACHINE`)",
    ),
    (&["migrate", "move"], "a machine stays on its host"),
    (&["suspend", "freeze", "save", "hibernate"], "`v vm pause MACHINE` keeps its memory"),
    (&["unfreeze", "continue", "thaw"], "`v vm resume MACHINE` resumes a paused one"),
    (
        &["launch", "run", "new", "up", "add", "define", "deploy"],
        "`v run IMAGE` creates a machine, starts it and opens a session",
    ),
    (&["down"], "`v vm stop MACHINE` shuts a machine down"),
    (
        &["cp", "scp", "push", "transfer"],
        "scp FILE vm+MACHINE: (`v node ssh-config --install` first)",
    ),
    (&["connect", "login"], "`v vm ssh MACHINE` opens a session"),
    (&["dumpxml", "dump"], "`v vm config MACHINE` prints a machine's definition"),
    (&["ip", "address", "addresses", "domifaddr"], "`v vm info MACHINE` shows its addresses"),
    (&["init"], "`v node init` creates the node's directories and bridge"),
    (&["install", "setup"], "`v node setup` downloads what this host lacks"),
    (&["check", "doctor"], "`v node check` checks this host, `v template check` the configuration"),
    (&["images"], "`v image ls` lists images"),
    (
        &["pull", "import", "download"],
        "`v image pull IMAGE` downloads an image, `v image import` imports a file",
    ),
    (&["templates", "flavors", "profiles"], "`v template ls` lists the templates"),
    (&["vms", "machine", "machines", "domains", "instances"], "`v vm ls` lists machines"),
];

/// The options that people expect, each with the command, its spellings and what to type.
const OPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "vm create",
        &[
            "--vcpu", "--vcpus", "--cpu", "--cpus", "--vram", "--ram", "--mem", "--memory",
            "--disk", "--size", "-c", "-m", "-d",
        ],
        "sizes are the template's: `v template show NAME` shows them",
    ),
    (
        "vm create",
        &["--image", "--from", "-i"],
        "images are the template's: image = \"NAME\" of a disk",
    ),
    ("vm ls", &["--format", "-o", "--output"], "--json prints JSON"),
    ("vm ls", &["--running", "--stopped", "--paused"], "--state STATE selects a state"),
    ("vm ls", &["-a", "--all", "--inactive"], "all machines are listed, whatever their state"),
];

/// The verbs that change machines: suggested for an obvious slip only.
const CHANGING: [&str; 7] = ["create", "start", "stop", "restart", "pause", "resume", "rm"];

/// The command that an error is about, without the program's name: `["vm", "ls"]`.
pub(crate) fn path(error: &clap::Error) -> Vec<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else {
        return Vec::new();
    };
    let usage = usage.to_string();
    let words = usage.split_whitespace().skip_while(|word| *word == "Usage:").skip(1);
    let is_command = |word: &&str| word.starts_with(|first: char| first.is_ascii_lowercase());
    words.take_while(is_command).map(ToOwned::to_owned).collect()
}

/// Replaces clap's suggestions by what helps.
pub(crate) fn improve(error: &mut clap::Error, command_line: impl Fn() -> Command) {
    let path = path(error);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let Some(ContextValue::String(typed)) =
                error.get(ContextKind::InvalidSubcommand).cloned()
            else {
                return;
            };
            error.remove(ContextKind::SuggestedSubcommand);
            error.remove(ContextKind::Suggested);
            if let Some(answer) = verb(&typed) {
                tip(error, answer);
            } else if let Some(similar) = similar_command(&typed, &path, command_line()) {
                error
                    .insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![similar]));
            }
        }
        ErrorKind::UnknownArgument => {
            let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg).cloned()
            else {
                return;
            };
            improve_option(error, &typed, &path.join(" "));
        }
        _ => {}
    }
}

fn improve_option(error: &mut clap::Error, typed: &str, path: &str) {
    if let Some(ContextValue::String(similar)) = error.get(ContextKind::SuggestedArg) {
        if !is_slip(typed.trim_start_matches('-'), similar.trim_start_matches('-')) {
            error.remove(ContextKind::SuggestedArg);
        }
    }
    let is_option = typed.starts_with('-');
    // "to pass '-x' as a value, use '-- -x'": no value of these commands begins with a dash.
    if is_option && path != "vm ssh" {
        error.remove(ContextKind::Suggested);
    }
    let mut answers = OPTIONS.iter().filter(|(command, ..)| *command == path);
    if let Some((.., answer)) = answers.find(|(_, spellings, _)| spellings.contains(&typed)) {
        error.remove(ContextKind::SuggestedArg);
        tip(error, answer);
    } else if !is_option && path == "vm create" {
        tip(
            error,
            &format!("`v vm create -t {typed}` creates a machine from the template {typed}"),
        );
    } else if !is_option && path == "vm ls" {
        tip(error, &format!("`v vm info {typed}` shows one machine"));
    }
}

fn tip(error: &mut clap::Error, text: &str) {
    let tip = ContextValue::StyledStrs(vec![StyledStr::from(text.to_owned())]);
    error.insert(ContextKind::Suggested, tip);
}

/// What to type for another program's verb.
fn verb(typed: &str) -> Option<&'static str> {
    VERBS.iter().find(|(verbs, _)| verbs.contains(&typed)).map(|(_, answer)| *answer)
}

/// The command that `typed` is a slip of, if one is alike; below `v` itself also a verb of `v vm`.
fn similar_command(typed: &str, path: &[String], mut root: Command) -> Option<String> {
    // Commands are built when they are used; all of them are looked through here.
    root.build();
    let command =
        path.iter().try_fold(&root, |command, name| command.find_subcommand(name.as_str()))?;
    let own = command.get_subcommands().map(|command| ("", command));
    let vm = root.find_subcommand("vm").filter(|_| path.is_empty());
    let below_vm =
        vm.into_iter().flat_map(Command::get_subcommands).map(|command| ("vm ", command));
    let candidates = own.chain(below_vm).filter(|(_, command)| !command.is_hide_set());
    let mut similar: Vec<(usize, String)> = candidates
        .flat_map(|(prefix, command)| {
            let spellings = iter::once(command.get_name()).chain(command.get_all_aliases());
            let slips = spellings.filter(|name| is_slip_of_command(typed, name));
            let name = format!("{prefix}{}", command.get_name());
            slips.map(move |slip| (strsim::damerau_levenshtein(typed, slip), name.clone()))
        })
        .collect();
    similar.sort();
    similar.into_iter().next().map(|(_, name)| name)
}

/// Whether `typed` is `name` with a slip; for a verb that changes machines, an obvious one.
fn is_slip_of_command(typed: &str, name: &str) -> bool {
    let is_obvious = || {
        name.len() > 3 && typed.chars().next() == name.chars().next() && {
            strsim::damerau_levenshtein(typed, name) == 1
        }
    };
    is_slip(typed, name) && (!CHANGING.contains(&name) || is_obvious())
}

/// Whether `typed` is `name` with a slip: one in a short name, two in a long one.
fn is_slip(typed: &str, name: &str) -> bool {
    // Comparing takes time by the product of the lengths.
    typed.len() <= 64 && strsim::damerau_levenshtein(typed, name) <= 1 + name.len() / 6
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn error(line: &str) -> String {
        let mut error = Cli::command().try_get_matches_from(line.split(' ')).unwrap_err();
        improve(&mut error, Cli::command);
        error.to_string()
    }

    #[test]
    fn a_slip_is_answered_by_what_was_meant() {
        for (line, tip) in [
            ("v vm lst", "exists: 'ls'"),
            ("v vm strat", "exists: 'start'"),
            ("v vm consol", "exists: 'console'"),
            ("v tempalte", "exists: 'template'"),
            ("v strat web", "exists: 'vm start'"),
            ("v vm ls --jsno", "exists: '--json'"),
            ("v vm ls --stat", "exists: '--state'"),
        ] {
            let error = error(line);
            assert!(error.contains(tip), "{line}: {error}");
        }
    }

    #[test]
    fn no_tip_changes_a_machine_by_a_guess() {
        for line in [
            "v vm top",
            "v vm stat",
            "v vm rem web",
            "v vm rn web",
            "v vm migrate",
            "v vm pse web",
            "v vm snapshot",
            "v vm rename a b",
            "v vm clone a b",
            "v vm edit web",
            "v vm sop web x",
        ] {
            let error = error(line);
            for verb in ["'stop'", "'restart'", "'rm'", "'resume'", "'create'"] {
                let is_slip = line.contains(" sop ") && verb == "'stop'";
                assert_eq!(error.contains(&format!("exists: {verb}")), is_slip, "{line}: {error}");
            }
        }
    }

    #[test]
    fn another_programs_verb_is_answered_by_what_does_the_same() {
        for (line, tip) in [
            ("v vm destroy web", "v vm rm MACHINE"),
            ("v vm exec web ls", "v vm ssh MACHINE -- COMMAND"),
            ("v kill web", "v vm stop --force"),
            ("v vm status", "v vm ls"),
            ("v vm create debian", "v vm create -t debian"),
            ("v vm create -t debian --vcpu 4", "template"),
            ("v vm ls web", "v vm info web"),
            ("v vm ls -o json", "--json"),
            ("v images", "v image ls"),
        ] {
            let error = error(line);
            let tips: Vec<&str> = error.lines().filter(|line| line.contains("tip:")).collect();
            assert!(tips.len() == 1 && tips[0].contains(tip), "{line}: {error}");
        }
        assert!(!error("v vm info -x").contains("tip:"));
    }

    #[test]
    fn the_answers_name_commands_that_exist() {
        let mut root = Cli::command();
        root.build();
        for (_, answer) in VERBS {
            for command in answer.split('`').filter(|part| part.starts_with("v ")) {
                let words = command.split(' ').skip(1).take_while(|word| !word.starts_with('-'));
                let words = words.take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
                words.fold(&root, |above, word| above.find_subcommand(word).unwrap());
            }
        }
    }
}
