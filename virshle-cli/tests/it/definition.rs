//! Machines whose definitions can't be read.

use std::path::Path;

use crate::home::Home;

#[test]
fn a_broken_definition_is_reported_and_hides_no_other() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    let broken = home.root().join("vm/00000000-0000-4000-8000-000000000000");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("vm.toml"), "nonsense\x1b[2J").unwrap();
    let ls = home.run("vm ls");
    assert_eq!(ls.code, 1, "{ls:?}");
    assert!(ls.stdout.contains("web"), "{ls:?}");
    assert!(ls.stderr.contains("00000000-0000-4000-8000-000000000000"), "{ls:?}");
    assert!(!ls.stderr.contains('\x1b'), "{ls:?}");
    let json = home.run("vm ls --json");
    let list: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(list[0]["name"], "web");
    assert_eq!(list[1]["error"]["code"], "definition-broken");
    assert_eq!(json.error()["code"], "machines-unreadable");
}

/// Regression: a machine whose definition had an error was said not to exist (#12).
#[test]
fn a_machine_whose_definition_is_broken_is_named_with_its_line() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    home.ok("vm create -t bare --name db");
    let info = home.json("vm info web");
    let file = Path::new(info["dir"].as_str().unwrap()).join("vm.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("vcpus = 1", "vcpus = = 1")).unwrap();
    let id = info["id"].as_u64().unwrap().to_string();
    let uuid = info["uuid"].as_str().unwrap();
    for word in ["web", &id, uuid, &uuid[..8]] {
        for verb in ["info", "start", "rm", "ssh"] {
            let code = if verb == "ssh" { 255 } else { 1 };
            let ran = home.run(&format!("vm {verb} {word}"));
            assert!([1, code].contains(&ran.code), "{ran:?}");
            for part in ["vcpus = = 1", "vm.toml:", "hint: correct that file; or remove"] {
                assert!(ran.stderr.contains(part), "{part}: {ran:?}");
            }
        }
    }
    home.run("vm info dbb")
        .fails_with(3, &["among those whose definitions can be read", "v vm ls"]);
    // A filter may mean it, and nobody knows.
    let all = home.run("vm stop --all");
    assert!(all.code == 0 && all.stderr.contains("left out"), "{all:?}");
    home.ok("vm rm db");
    home.run("vm info db").fails_with(3, &["`v vm ls` lists all machines"]);
    std::fs::write(&file, text).unwrap();
    home.ok("vm rm web");
}
