//! Invalid arguments and files, and a host that lacks a requirement: each has its exit code and message.

use std::ffi::OsStr;
use std::path::Path;

use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::home::{Home, machines_below, ran};

#[test]
fn invalid_arguments_are_2() {
    let home = Home::new();
    for arguments in [
        "vm",
        "nonsense",
        "vm ls --nonsense",
        "vm create",
        "vm create -t bare -n 0",
        "vm create -t bare -n many",
        "vm create -t bare --name a/b",
        "vm create -t bare --name 12",
        "vm start --state of",
        "vm start --all web",
        "vm stop --all --timeout soon",
        "vm info",
        "vm info --id 1 --name web",
        "vm logs 1 --vmm --events",
        "vm logs 1 -f --json",
        "vm ls -q -v",
        "completions tcsh",
        "--color red vm ls",
    ] {
        home.run(arguments).fails_with(2, &[]);
    }
}

#[test]
fn no_machine_specified_is_2_with_a_hint() {
    let home = Home::new();
    home.ok("vm create -t bare");
    for verb in ["start", "stop", "restart", "pause", "resume", "rm", "logs"] {
        home.run(&format!("vm {verb}")).fails_with(2, &["no machine specified", "--all"]);
    }
}

#[test]
fn no_match_is_success_with_a_note() {
    let home = Home::new();
    for verb in ["start", "stop", "restart", "pause", "resume", "rm"] {
        let ran = home.run(&format!("vm {verb} --state running"));
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
        assert_eq!(ran.stderr, "no machine matches\n");
        assert_eq!(home.json(&format!("vm {verb} --all")), serde_json::json!([]));
    }
}

#[test]
fn no_such_machine_is_3() {
    let home = Home::new();
    home.run("vm start 1").fails_with(3, &["no machine \"1\"", "v vm create"]);
    home.ok("vm create -t bare --name web");
    home.run("vm start wbe").fails_with(3, &["no machine \"wbe\"", "did you mean \"web\"?"]);
    home.run("vm start --id 9").fails_with(3, &["no machine"]);
    home.run("vm rm --name nobody").fails_with(3, &["no machine"]);
    home.run("vm info --uuid ffffffff").fails_with(3, &["no machine"]);
    // Nothing is done if one of the arguments is invalid.
    home.run("vm rm web nobody").fails_with(3, &["nobody"]);
    assert_eq!(home.json("vm ls").as_array().unwrap().len(), 1);
}

#[test]
fn no_such_template_is_3() {
    let home = Home::new();
    home.run("vm create -t bar").fails_with(3, &["no template \"bar\"", "did you mean \"bare\"?"]);
    home.run("template show nothing-like-it").fails_with(3, &["bare", "disk"]);
    assert_eq!(machines_below(&home.root()), 0);
}

#[test]
fn an_unknown_template_is_no_empty_listing() {
    let home = Home::new();
    for command in ["vm ls", "vm start", "vm rm"] {
        let ran = home.run(&format!("{command} --template bar"));
        ran.fails_with(3, &["no template \"bar\"", "did you mean \"bare\"?", "v template ls"]);
    }
    assert_eq!(home.json("vm ls --template bare"), serde_json::json!([]));
    // What the machines were created from is a template, also when the configuration has it no more.
    home.ok("vm create -t bare");
    home.write_config("");
    assert_eq!(home.json("vm ls --template bare").as_array().unwrap().len(), 1);
    home.run("vm ls --template disk").fails_with(3, &["no template \"disk\""]);
}

#[test]
fn a_name_in_place_of_an_id_is_answered() {
    let home = Home::new();
    for command in ["vm info --id web", "vm start --id web"] {
        home.run(command).fails_with(2, &["an id is a number", "--name"]);
    }
}

#[test]
fn an_invalid_configuration_is_4_with_the_line() {
    let home = Home::new();
    home.write_config("[node]\nroot = 7\n");
    home.run("vm ls").fails_with(4, &["error: ", "config.toml:2:8", "2 | root = 7"]);
    home.write_config("[node\n");
    home.run("vm ls").fails_with(4, &["config.toml:1:"]);
}

#[test]
fn an_invalid_template_is_4_and_the_others_work() {
    let home = Home::new();
    home.write_config(
        "[[template.vm]]\nname = \"right\"\nvcpu = 1\nvram = 1\n\
         [[template.vm]]\nname = \"wrong\"\nvcpus = 1\nvram = \"much\"\n",
    );
    let texts = ["did you mean \"vcpu\"?", "7 | vcpus = 1", "8 | vram = \"much\""];
    home.run("vm create -t wrong").fails_with(4, &texts);
    home.run("template check").fails_with(4, &texts);
    home.ok("vm create -t right");
    let ran = home.run("template ls");
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("right") && !ran.stdout.contains("wrong"), "{ran:?}");
    assert!(ran.stderr.contains("warning: template \"wrong\" is invalid"), "{ran:?}");
}

#[test]
fn an_explicit_configuration_must_exist() {
    let home = Home::new();
    home.run("--config nowhere.toml vm ls").fails_with(4, &["nowhere.toml"]);
    let argument = home.run("template check nowhere.toml");
    argument.fails_with(4, &["nowhere.toml", "correct the path"]);
    assert!(!argument.stderr.contains("--config"), "{argument:?}");
}

#[test]
fn without_a_configuration_all_but_templates_work() {
    if Path::new("/etc/virshle/config.toml").exists() {
        return;
    }
    let home = Home::new();
    let root = home.root().display().to_string();
    let bare = |arguments: &[&str]| ran(home.bare_command(arguments).env("VIRSHLE_ROOT", &root));
    assert_eq!(bare(&["vm", "ls"]).code, 0);
    assert_eq!(bare(&["node", "info"]).code, 0);
    for arguments in [&["vm", "create", "-t", "xs"][..], &["template", "ls"]] {
        bare(arguments).fails_with(4, &["/etc/virshle/config.toml", "hint: "]);
    }
}

#[test]
fn a_root_that_cannot_be_written_is_5() {
    let home = Home::new();
    // No user can create a directory there, not even root.
    home.run("vm create -t bare --root /sys/virshle").fails_with(5, &["/sys/virshle"]);
    home.run("node init --root /sys/virshle").fails_with(5, &["/sys/virshle"]);
    // Nor is there anything to list.
    assert_eq!(home.run("vm ls --root /sys/virshle").code, 0);
}

#[test]
fn a_host_that_lacks_a_requirement_is_5() {
    let home = Home::new();
    home.ok("vm create -t bare -n 2");
    home.run("vm start 1").fails_with(5, &["error: ", "hint: "]);
    home.run("node init").fails_with(5, &["no-ovsdb.sock", "hint: "]);
    let check = home.run("node check");
    assert_eq!(check.code, 5, "{check:?}");
    assert!(check.stdout.contains("no-cloud-hypervisor"), "{check:?}");
    // Each of several is reported, and none keeps the other from being tried.
    let both = home.run("vm start --all");
    both.fails_with(1, &["error: 2 of 2 machines could not be started"]);
    assert_eq!(both.stderr.matches("error: cannot").count(), 2, "{both:?}");
}

#[test]
fn a_name_that_is_taken_is_6() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    home.run("vm create -t bare --name web").fails_with(6, &["web exists already", "hint: "]);
    assert_eq!(machines_below(&home.root()), 1);
}

#[test]
fn an_operation_refused_in_this_state_is_6() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    home.run("vm pause web").fails_with(6, &["cannot pause machine web: it is stopped"]);
    home.run("vm resume web").fails_with(6, &["cannot resume machine web: it is stopped"]);
    assert_eq!(home.ok("vm stop web"), "web is stopped already\n");
}

#[test]
fn unsuitable_images_leave_nothing_behind() {
    let home = Home::new();
    let short = home.run("vm create -t short");
    short.fails_with(short.code, &["cannot create disk \"os\""]);
    assert!([1, 4].contains(&short.code), "{short:?}");
    // One that isn't there, by its path or by its name: one cause, one exit code.
    home.run("vm create -t gone").fails_with(3, &["no-such-image.raw", "correct its path"]);
    home.write_config(
        "[[template.vm]]\nname = \"name\"\nvcpu = 1\nvram = 1\n\
         disk = [{ name = \"os\", image = \"nothing\" }]\n\
         [[template.vm]]\nname = \"text\"\nvcpu = 1\nvram = 1\n\
         disk = [{ name = \"os\", path = \"/etc/passwd\" }]\n\
         [[template.vm]]\nname = \"large\"\nvcpu = 1\nvram = 1\n\
         disk = [{ name = \"os\", size = \"7000000T\" }]\n\
         [[template.vm]]\nname = \"kernel\"\nvcpu = 1\nvram = 1\nkernel = \"/no-kernel\"\n\
         disk = [{ name = \"os\", size = \"1M\" }]\n",
    );
    let kernel = home.run("vm create -t kernel");
    kernel.fails_with(3, &["file /no-kernel of template \"kernel\"", "correct its path"]);
    assert!(!kernel.stderr.contains("disk") && !kernel.stderr.contains("image"), "{kernel:?}");
    home.run("vm create -t name").fails_with(3, &["no image \"nothing\""]);
    home.run("vm create -t text")
        .fails_with(1, &["file /etc/passwd", "it is a text file", "correct its path"]);
    let large = home.run("vm create -t large");
    large.fails_with(1, &["os", "the filesystem can't have so large a file"]);
    assert_eq!(machines_below(&home.root()), 0);
}

/// Regression: a root too long for its machines' sockets was set up, and no machine could be made in it (#12).
#[test]
fn a_root_that_is_too_long_is_refused_before_it_is_made() {
    let home = Home::new();
    let longest = 107 - "/vm/00000000-0000-0000-0000-000000000000/net/ch.vsock".len();
    let root = |length: usize| {
        let above = home.path("");
        let name = "d".repeat(length - above.as_os_str().len());
        above.join(name).display().to_string()
    };
    for verb in ["node init", "node init --dry-run", "vm create -t bare"] {
        let root = root(longest + 1);
        home.run(&format!("--root {root} {verb}")).fails_with(4, &["107 bytes", "hint: choose a"]);
        assert!(!Path::new(&root).exists());
    }
    home.ok(&format!("--root {} vm create -t bare", root(longest)));
}

#[test]
fn more_machines_at_once_than_files_may_be_open_are_made() {
    let home = Home::new();
    let inner = home.command(&["vm", "create", "-t", "bare", "-n", "300"]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -S -n 100; exec \"$@\"", "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).current_dir(home.path(""));
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let made = ran(&mut command);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(machines_below(&home.root()), 300);
}

#[test]
fn a_terminal_is_attached_to_one_machine() {
    let home = Home::new();
    home.ok("vm create -t bare -n 2");
    let ran = home.run("vm start --all --attach");
    ran.fails_with(
        2,
        &["more than one machine specified", "hint: this command takes exactly one machine"],
    );
}

#[test]
fn a_missing_key_is_noted_and_the_guest_still_gets_its_name() {
    let home = Home::new();
    let seed = |name: &str| {
        let disk =
            home.json(&format!("vm info {name}"))["disks"].as_array().unwrap().last().cloned();
        disk.filter(|disk| disk["clone"] == "seed" && disk["readonly"] == true)
    };
    let ran = home.run("vm create -t disk --name web");
    assert!(ran.code == 0 && ran.stderr.contains("no ssh access will be possible"), "{ran:?}");
    let bytes = std::fs::read(seed("web").unwrap()["path"].as_str().unwrap()).unwrap();
    let name = b"local-hostname: \"web\"\n";
    assert!(bytes.windows(name.len()).any(|part| part == name));
    // There is no note with --no-user-data, with a key, or for a machine without disks.
    let silent = home.run("vm create -t disk --no-user-data --name nothing");
    assert!(seed("nothing").is_none() && !silent.stderr.contains("nobody"), "{silent:?}");
    assert!(!home.run("vm create -t bare").stderr.contains("nobody"));
    std::fs::create_dir(home.path(".ssh")).unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+ me";
    std::fs::write(home.path(".ssh/id_ed25519.pub"), key).unwrap();
    assert!(!home.run("vm create -t disk --name db").stderr.contains("nobody"));
    let bytes = std::fs::read(seed("db").unwrap()["path"].as_str().unwrap()).unwrap();
    assert!(bytes.windows(key.len()).any(|part| part == key.as_bytes()));
}

#[test]
fn a_definition_of_a_newer_version_is_left_alone() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    home.ok("vm create -t bare --name db");
    let dir = home.json("vm info web")["dir"].as_str().unwrap().to_owned();
    let path = Path::new(&dir).join("vm.toml");
    let newer = std::fs::read_to_string(&path).unwrap().replace("format = 1", "format = 2");
    std::fs::write(&path, &newer).unwrap();
    let ls = home.run("vm ls");
    assert!(ls.code == 1 && ls.stdout.contains("db"), "{ls:?}");
    assert!(ls.stderr.contains("has format 2, written by a newer virshle"), "{ls:?}");
    let rm = home.run("vm rm --all");
    assert!(!home.run("vm ls").stdout.contains("db"), "{rm:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), newer);
}

#[test]
fn hostile_names_create_and_select_nothing() {
    let home = Home::new();
    let long = "x".repeat(300);
    let names =
        ["a/b", "../x", "..", ".", "", "a\nb", "a b", "ü", "\u{202e}x", "-x", "\x1b[2J", &long];
    for name in names {
        let name_is = format!("--name={name}");
        let made = ran(&mut home.command(&["vm", "create", "-t", "bare", &name_is]));
        assert_eq!(made.code, 2, "{name:?}: {made:?}");
        for arguments in [["vm", "info", "--name", name], ["vm", "rm", "--uuid", name]] {
            let found = ran(&mut home.command(&arguments));
            assert!([2, 3].contains(&found.code), "{name:?}: {found:?}");
            assert!(!found.stderr.contains('\x1b'), "{found:?}");
        }
        let template = ran(&mut home.command(&["vm", "create", "-t", name]));
        assert!([2, 3].contains(&template.code), "{name:?}: {template:?}");
    }
    assert_eq!(machines_below(&home.root()), 0);
}

#[test]
fn invalid_user_data_creates_no_machine() {
    let home = Home::new();
    let me = home.path("me");
    let create = format!("vm create -t bare --user-data {}", me.display());
    home.run(&create).fails_with(1, &["cannot read", "me"]);
    for (text, messages) in [
        (&b"just some text\n"[..], ["this is not user data", "me:1:1"]),
        (b"\x7fELF\x02\xff", ["not UTF-8", "me:1:6"]),
        (b"#cloud-config\na: [1\nb: }\n", ["not YAML", "me:3:2"]),
        (b"packages = [\"htop\n", ["unclosed array", "me:1:18"]),
        (
            b"[[user]]\nname = \"anon\"\nssh.authorized_keys = [\"no key\"]\n",
            ["not a public key", "me:3:24"],
        ),
    ] {
        std::fs::write(&me, text).unwrap();
        home.run(&create).fails_with(4, &messages);
    }
    // Each may be large; a seed holds no more than its disk.
    std::fs::write(&me, format!("#!/bin/sh\n#{}\n", "x".repeat(1 << 20))).unwrap();
    home.run(&create).fails_with(1, &["more than 1048576 bytes"]);
    std::fs::write(&me, format!("#!/bin/sh\n#{}\n", "x".repeat(1_000_000))).unwrap();
    let all = format!(" --user-data {}", me.display()).repeat(8);
    home.run(&format!("{create}{all}"))
        .fails_with(1, &["would hold 8.5 MiB", "8 MiB are the most", "hint"]);
    assert_eq!(machines_below(&home.root()), 0);
    std::fs::write(&me, "packages = [\"htop\"]\n").unwrap();
    home.ok(&create);
    assert_eq!(machines_below(&home.root()), 1);
}

/// Regression: a machine was created in such a root, and could never be started.
#[test]
fn a_root_in_which_no_machine_could_start_is_refused_at_once() {
    let home = Home::new();
    let odd = |bytes: &[u8]| {
        home.path("").join(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
    };
    for name in [&b"a,b"[..], b"a\"b", b"a[b", b"b]", b"a\xffb", b"a\nb", b"a\x1bb"] {
        let root = odd(name);
        for arguments in [
            &["vm", "create", "-t", "bare"][..],
            &["node", "init"],
            &["image", "import", "image.raw"],
        ] {
            let mut command = home.command(arguments);
            ran(command.env("VIRSHLE_ROOT", &root))
                .fails_with(4, &["cannot be a node's root", "--root or [node] root"]);
            assert!(!root.exists(), "{root:?}");
        }
        // What only reads says that there is nothing, or that it is wrong.
        let mut command = home.command(&["vm", "ls"]);
        assert_eq!(ran(command.env("VIRSHLE_ROOT", &root)).code, 0);
    }
}

#[test_on(Ch, Kvm)]
fn ch_a_machine_starts_in_a_root_of_any_other_name() {
    let home = Home::new();
    let written = TestKernel::halt().write(home.path("").as_path()).unwrap();
    std::fs::rename(written, home.path("kernel")).unwrap();
    let program = std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into());
    home.write_config(&format!(
        "[network]\novsdb = \"unix:HOME/no-ovsdb.sock\"\n[hypervisor]\nprogram = {program:?}\n\
         [[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
         disk = [{{ name = \"os\", path = \"image.raw\", clone = \"overlay\" }}]\n"
    ));
    for name in
        ["a b", "a=b", "é", "it's", "a;b&c", "a:b@c", "a%20b", "#a", "a\\b", "(a)", "{a}", "~"]
    {
        let root = home.path(name);
        let v = |arguments: &[&str]| {
            let mut command = home.command(arguments);
            let ran = ran(command.env("VIRSHLE_ROOT", &root));
            assert_eq!(ran.code, 0, "{name}: v {arguments:?}: {ran:?}");
        };
        v(&["vm", "create", "-t", "xs", "--name", "web", "--start"]);
        v(&["vm", "info", "web"]);
        v(&["vm", "rm", "--force", "web"]);
    }
}
