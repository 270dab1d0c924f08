//! How the command line selects machines.

use crate::home::Home;

/// The names of the machines that `vm rm` removed with these arguments.
fn removed(home: &Home, arguments: &str) -> Vec<String> {
    let mut names: Vec<String> = home
        .ok(&format!("vm rm {arguments}"))
        .lines()
        .map(|line| line.strip_prefix("removed ").unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_way_of_selecting_finds_the_same_machine() {
    let home = Home::new();
    let created = home.json("vm create -t bare --name web");
    let uuid = created[0]["uuid"].as_str().unwrap();
    for arguments in [
        "1".to_owned(),
        "web".to_owned(),
        uuid.to_owned(),
        uuid[..8].to_owned(),
        "--id 1".to_owned(),
        "--id=1".to_owned(),
        "--name web".to_owned(),
        format!("--uuid {uuid}"),
        "--all".to_owned(),
        "--state stopped".to_owned(),
        "--template bare".to_owned(),
    ] {
        assert_eq!(
            home.ok(&format!("vm stop {arguments}")),
            "web is stopped already\n",
            "{arguments}"
        );
    }
    for arguments in ["1", "--id 1", "--name web"] {
        assert_eq!(home.json(&format!("vm info {arguments}")), created[0]);
    }
}

#[test]
fn the_first_users_spelling_works() {
    let home = Home::new();
    home.ok("vm create -t bare");
    // The host lacks what a start needs here; the arguments are valid.
    assert_eq!(home.run("vm start --id 1").code, 5);
}

#[test]
fn arguments_options_and_filters_combine() {
    let home = Home::new();
    home.ok("vm create -t bare -n 6 --name web");
    home.ok("vm create -t disk --name db");
    assert_eq!(removed(&home, "web-1 --id 2 --name web-3"), ["web-1", "web-2", "web-3"]);
    // Filters narrow the selection.
    assert_eq!(removed(&home, "web-4 db --template disk"), ["db"]);
    assert_eq!(removed(&home, "--all --state stopped"), ["web-4", "web-5", "web-6"]);
}

#[test]
fn autostart_selects_machines_whose_template_sets_it() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    home.ok("vm create -t disk --name db");
    let ran = home.run("vm start --autostart");
    assert!(ran.stderr.contains("db") && !ran.stderr.contains("web"), "{ran:?}");
    home.ok("vm rm db");
    let ran = home.run("vm start --autostart");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "no machine matches\n"));
}

#[test]
fn global_options_are_accepted_anywhere() {
    let home = Home::new();
    let elsewhere = home.path("elsewhere").display().to_string();
    home.ok(&format!("--root {elsewhere} vm create -t bare --name web"));
    assert!(home.ok(&format!("vm --root {elsewhere} ls")).contains("web"));
    assert!(home.ok(&format!("vm ls --root={elsewhere}")).contains("web"));
    assert!(!home.ok("vm ls").contains("web"));
}
