//! Tables and sheets, as people see them.

use crate::home::Home;

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

#[test]
fn a_listing_is_a_heading_and_a_table() {
    let home = Home::new();
    let created = home.ok("vm create -t bare --name buzz_matala");
    assert_eq!(
        created,
        format!(
            "deku on {}\n\
             ╭────┬─────────────┬──────┬─────────┬─────────╮\n\
             │ id │ name        │ vcpu │ vram    │ state   │\n\
             ├────┼─────────────┼──────┼─────────┼─────────┤\n\
             │ 1  │ buzz_matala │ 1    │ 512 MiB │ stopped │\n\
             ╰────┴─────────────┴──────┴─────────┴─────────╯\n",
            host()
        )
    );
    assert_eq!(home.ok("vm ls"), created);
    home.ok("vm create -t disk --name web");
    let table = home.ok("vm ls");
    assert!(table.contains("│ 2  │ web         │ 2    │ 2 GiB   │ stopped │\n"), "{table}");
}

#[test]
fn a_listing_can_be_narrowed_down() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    home.ok("vm create -t disk --name db");
    let bare = home.ok("vm ls --template bare");
    assert!(bare.contains("web") && !bare.contains("db"), "{bare}");
    assert!(!home.ok("vm ls --state running").contains("web"));
    let both = home.ok("vm ls --state stopped --template bare --template disk");
    assert!(both.contains("web") && both.contains("db"), "{both}");
}

#[test]
fn an_empty_listing_is_an_empty_table() {
    let home = Home::new();
    assert_eq!(
        home.ok("vm ls"),
        format!(
            "deku on {}\n\
             ╭────┬──────┬──────┬──────┬───────╮\n\
             │ id │ name │ vcpu │ vram │ state │\n\
             ╰────┴──────┴──────┴──────┴───────╯\n",
            host()
        )
    );
}

#[test]
fn verbose_adds_columns() {
    let home = Home::new();
    let uuid = home.json("vm create -t bare --name web")[0]["uuid"].as_str().unwrap().to_owned();
    let table = home.ok("vm ls -v");
    for text in ["template", "pid", "nets", "created", "uuid", "bare", &uuid] {
        assert!(table.contains(text), "{text:?} is not in {table}");
    }
}

#[test]
fn details_of_a_machine_are_a_line_each() {
    let home = Home::new();
    home.ok("vm create -t disk --name web");
    let info = home.ok("vm info web");
    for line in ["name       web", "state      stopped", "vram       2 GiB", "autostart  yes"] {
        assert!(info.lines().any(|found| found == line), "{line:?} is not in {info}");
    }
    assert!(info.contains("disk       os, raw, 2 MiB, "), "{info}");
    let config = home.ok("vm config web");
    assert!(config.contains("name = \"web\"") && config.contains("[[disk]]"), "{config}");
}

#[test]
fn templates_are_a_table_and_a_sheet() {
    let home = Home::new();
    assert_eq!(
        home.ok("template ls"),
        "╭───────┬──────┬─────────┬──────────────────────┬──────╮\n\
         │ name  │ vcpu │ vram    │ disks                │ nets │\n\
         ├───────┼──────┼─────────┼──────────────────────┼──────┤\n\
         │ bare  │ 1    │ 512 MiB │                      │      │\n\
         │ disk  │ 2    │ 2 GiB   │ os 2 MiB, data 1 MiB │      │\n\
         │ short │ 1    │ 1 GiB   │ os 4 KiB             │      │\n\
         │ gone  │ 1    │ 1 GiB   │ os                   │      │\n\
         ╰───────┴──────┴─────────┴──────────────────────┴──────╯\n"
    );
    let show = home.ok("template show disk");
    assert!(show.contains("vcpu       2, up to 4\n"), "{show}");
    assert!(home.ok("template check").contains("is valid: 4 templates"));
}

#[test]
fn quiet_leaves_only_results_and_errors() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    assert!(home.ok("vm ls -q").contains("web"));
    let ran = home.run("vm stop -q --all");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    assert!(home.run("vm start -q --all").stderr.starts_with("error: "));
}
