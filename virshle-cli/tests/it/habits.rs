//! What people type by habit: verbs without `vm`, other programs' verbs, `v` alone.

use crate::home::{Home, ran};

#[test]
fn the_verbs_of_vm_work_without_vm() {
    let home = Home::new();
    assert!(home.ok("create -t bare --name web").contains("web"));
    assert_eq!(home.json("ls"), home.json("vm ls"));
    assert_eq!(home.json("ps --state stopped"), home.json("vm ls"));
    assert_eq!(home.json("info web"), home.json("vm show web"));
    assert_eq!(home.ok("shutdown web"), "web is stopped already\n");
    let root = home.root().display().to_string();
    assert!(home.ok(&format!("--root {root} -q list")).contains("web"));
    assert_eq!(home.ok("rm -f web"), "removed web\n");
    // What was typed is what the error is about.
    home.run("start web").fails_with(3, &["no machine \"web\""]);
    home.run("lss").fails_with(2, &["unrecognized subcommand 'lss'", "'vm ls'"]);
    assert_eq!(home.run("lss --json").error()["code"], "usage");
}

#[test]
fn another_programs_verbs_are_answered_and_harm_nothing() {
    let home = Home::new();
    home.ok("create -t bare -n 2 --name web");
    for (arguments, tip) in [
        ("destroy web-1", "`v vm rm MACHINE` removes"),
        ("vm undefine web-1", "`v vm rm MACHINE` removes"),
        ("vm kill web-1", "`v vm stop --force MACHINE`"),
        ("vm status", "`v vm ls` lists the states"),
        ("vm launch debian", "`v run IMAGE`"),
        ("vm create bare", "`v vm create -t bare`"),
    ] {
        home.run(arguments).fails_with(2, &[tip]);
    }
    assert_eq!(home.json("ls").as_array().unwrap().len(), 2);
}

#[test]
fn alone_it_shows_where_one_stands_and_what_next() {
    let home = Home::new();
    let alone = |home: &Home| {
        let ran = ran(&mut home.command(&[]));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        ran.stdout
    };
    let text = alone(&home);
    for part in ["deku on ", "br0, Open vSwitch cannot be reached", "bare, disk", "v node check"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("v vm create -t bare --start"), "{text}");
    home.ok("create -t bare --name web");
    assert!(alone(&home).contains("v vm start web"));
    let json: serde_json::Value = serde_json::from_str(&home.ok("--json")).unwrap();
    assert_eq!(json["machines"]["stopped"], 1);
    assert_eq!(json["bridge"]["state"], "unreachable");
    assert_eq!(json["next"][0]["command"], "v node check");
    home.write_config("[node]\nroot = 7\n");
    ran(&mut home.command(&[])).fails_with(4, &["config.toml:2:8"]);
}
