//! JSON: one document on stdout, errors on stderr.

use serde_json::{Value, json};

use crate::home::Home;

fn assert_machine(vm: &Value) {
    for (field, is_right) in [
        ("id", vm["id"].is_u64()),
        ("uuid", vm["uuid"].is_string()),
        ("name", vm["name"].is_string()),
        ("template", vm["template"].is_string()),
        ("state", vm["state"].is_string()),
        ("vcpu", vm["vcpu"].is_u64()),
        ("vram", vm["vram"].is_u64()),
        ("created", vm["created"].as_str().is_some_and(|text| text.ends_with('Z'))),
        ("pid", vm.get("pid").is_some()),
        ("last_exit", vm.get("last_exit").is_some()),
        ("dir", vm["dir"].is_string()),
        ("api_socket", vm["api_socket"].is_string()),
        ("vsock", vm["vsock"].is_string()),
        ("disks", vm["disks"].is_array()),
        ("nets", vm["nets"].is_array()),
    ] {
        assert!(is_right, "{field} of {vm:#}");
    }
}

#[test]
fn machines_look_the_same_everywhere() {
    let home = Home::new();
    let created = home.json("vm create -t disk --name web");
    assert_eq!(created.as_array().unwrap().len(), 1);
    let vm = &created[0];
    assert_machine(vm);
    assert_eq!(vm["id"], 1);
    assert_eq!(vm["name"], "web");
    assert_eq!(vm["vcpu"], 2);
    assert_eq!(vm["vram"], 2_u64 << 30);
    assert_eq!(vm["state"], "stopped");
    let disks = vm["disks"].as_array().unwrap();
    assert_eq!((disks[0]["name"].as_str(), disks[0]["size"].as_u64()), (Some("os"), Some(2 << 20)));
    assert_eq!(disks[0]["format"], "raw");
    assert_eq!(disks[0]["source"], home.path("image.raw").display().to_string());
    assert_eq!(
        (disks[1]["name"].as_str(), disks[1]["clone"].as_str()),
        (Some("data"), Some("empty"))
    );
    assert_eq!(home.json("vm ls"), created);
    assert_eq!(home.json("vm info web"), *vm);
    assert_eq!(home.json("vm stop web"), created);
}

#[test]
fn several_machines_come_in_one_array() {
    let home = Home::new();
    let created = home.json("vm create -t bare -n 3");
    let created = created.as_array().unwrap();
    assert_eq!(created.len(), 3);
    created.iter().for_each(assert_machine);
    let removed = home.json("vm rm 1 3");
    let expected: Vec<Value> = [&created[0], &created[2]]
        .map(|vm| json!({"id": vm["id"], "name": vm["name"], "uuid": vm["uuid"]}))
        .into();
    assert_eq!(removed, Value::Array(expected));
    assert_eq!(home.json("vm ls").as_array().unwrap().len(), 1);
}

#[test]
fn a_machine_that_failed_carries_its_error() {
    let home = Home::new();
    home.ok("vm create -t bare -n 2");
    let both = home.run("vm pause --all --json");
    assert_eq!(both.code, 1, "{both:?}");
    assert_eq!(both.error()["code"], "machines-failed");
    let list: Value = serde_json::from_str(&both.stdout).unwrap();
    for vm in list.as_array().unwrap() {
        assert_machine(vm);
        assert_eq!(vm["error"]["code"], "wrong-state");
        assert_eq!(vm["error"]["exit"], 6);
    }
    let one = home.run("vm pause 1 --json");
    // The document has the machine's error: it is not printed again.
    assert_eq!((one.code, one.stderr.as_str()), (6, ""));
    let list: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!(list[0]["error"], serde_json::from_str::<Value>(&both.stdout).unwrap()[0]["error"]);
    let start = home.run("vm create -t bare --name three --start --json");
    assert_eq!((start.code, start.stderr.as_str()), (5, ""));
    assert_eq!(serde_json::from_str::<Value>(&start.stdout).unwrap()[0]["error"]["exit"], 5);
}

#[test]
fn a_command_that_prints_text_refuses_json() {
    let home = Home::new();
    home.ok("vm create -t bare --name web");
    for command in [
        "vm ssh web",
        "vm console web",
        "vm proxy web",
        "vm known-hosts web",
        "completions bash",
        "man",
    ] {
        let ran = home.run(&format!("--json {command}"));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert_eq!(ran.error()["code"], "usage", "{ran:?}");
        assert!(ran.error()["message"].as_str().unwrap().contains("no JSON output"), "{ran:?}");
    }
    let lines = home.json("node ssh-config");
    assert!(lines["text"].as_str().unwrap().contains("Host vm/*"), "{lines}");
    assert_eq!(lines["installed"], false);
    home.ok("node ssh-config --install");
    assert_eq!(home.json("node ssh-config")["installed"], true);
}

#[test]
fn definitions_and_vmm_configurations_are_json() {
    let home = Home::new();
    home.ok("vm create -t disk --name web");
    let definition = home.json("vm config web");
    assert_eq!(definition["name"], "web");
    assert_eq!(definition["disk"][0]["size_bytes"], 2 << 20);
    // Whether there is a firmware is up to the host.
    let command = home.run("vm config web --command --json");
    if command.code == 0 {
        let arguments: Vec<String> = serde_json::from_str(&command.stdout).unwrap();
        assert!(arguments.iter().any(|argument| argument == "--api-socket"), "{arguments:?}");
        let config = home.json("vm config web --vmm");
        assert_eq!(config["cpus"]["boot_vcpus"], 2);
    } else {
        assert_eq!(command.code, 5);
        assert_eq!(command.error()["code"], "firmware-missing");
    }
}

#[test]
fn templates_are_json() {
    let home = Home::new();
    let templates = home.json("template ls");
    assert_eq!(templates.as_array().unwrap().len(), 4);
    let disk = home.json("template show disk");
    assert_eq!(disk, templates[1]);
    assert_eq!(disk["vcpu"], json!({"boot": 2, "max": 4}));
    assert_eq!(disk["disk"][0]["path"], home.path("image.raw").display().to_string());
    let checked = home.json("template check");
    assert_eq!(checked["templates"], json!(["bare", "disk", "short", "gone"]));
    assert_eq!(checked["mistakes"], json!([]));
}

#[test]
fn mistakes_are_json() {
    let home = Home::new();
    home.write_config("[[template.vm]]\nname = \"x\"\nvcpus = 1\nvcpu = 1\nvram = 1\n");
    let check = home.run("template check --json");
    assert_eq!(check.code, 4);
    assert_eq!(check.error()["code"], "config-wrong");
    let checked: Value = serde_json::from_str(&check.stdout).unwrap();
    assert_eq!(checked["mistakes"][0]["line"], 3);
    let create = home.run("vm create -t x --json");
    assert_eq!((create.code, create.stdout.as_str()), (4, ""));
    assert_eq!(create.error()["mistakes"], checked["mistakes"]);
}

#[test]
fn the_node_is_json() {
    let home = Home::new();
    home.ok("vm create -t bare");
    let info = home.json("node info");
    assert_eq!(info["alias"], "deku");
    assert_eq!(info["root"], home.root().display().to_string());
    assert_eq!(info["machines"]["stopped"], 1);
    let check = home.run("node check --json");
    assert_eq!(check.code, 5);
    assert_eq!(check.error()["code"], "host-lacking");
    let check: Value = serde_json::from_str(&check.stdout).unwrap();
    assert!(check["findings"].as_array().unwrap().len() > 4, "{check:#}");
    assert_eq!(check["orphans"], json!([]));
    assert_eq!(check["repaired"], json!([]));
    let init = home.run("node init --json");
    assert_eq!((init.code, init.stdout.as_str()), (5, ""));
    assert_eq!(init.error()["code"], "network-failed");
}

#[test]
fn errors_are_json_whatever_is_wrong() {
    let home = Home::new();
    for (arguments, code, exit) in [
        ("vm start nobody", "vm-not-found", 3),
        ("vm start", "usage", 2),
        ("vm nonsense", "usage", 2),
        ("vm create -t nothing", "template-not-found", 3),
        ("vm create -t bare --root /sys/virshle", "write-failed", 5),
    ] {
        let ran = home.run(&format!("{arguments} --json"));
        assert_eq!(ran.code, exit, "{ran:?}");
        assert_eq!(ran.stdout, "", "{ran:?}");
        assert_eq!(ran.error()["code"], code, "{ran:?}");
        assert!(ran.error()["help"].is_string(), "{ran:?}");
    }
}

#[test]
fn logs_of_all_levels_stay_off_the_document() {
    let home = Home::new();
    let ran = home.run("vm create -t disk --json -vvvv");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(serde_json::from_str::<Value>(&ran.stdout).is_ok());
    assert!(ran.stderr.contains("created"), "{ran:?}");
}
