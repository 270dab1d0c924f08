//! The life of machines on a real cloud-hypervisor.

use std::fs;
use std::time::{Duration, Instant};

use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::home::Home;

/// A home whose template `xs` boots a few bytes of `kernel`.
///
/// Its machines end with it: a test that fails must not leave them running.
struct Lab(Home);

impl Lab {
    fn new(kernel: &TestKernel) -> Self {
        let home = Home::new();
        let written = kernel.write(home.path("").as_path()).unwrap();
        fs::rename(written, home.path("kernel")).unwrap();
        let program = std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into());
        home.write_config(&format!(
            "[node]\nalias = \"deku\"\n[network]\novsdb = \"unix:HOME/no-ovsdb.sock\"\n\
             [hypervisor]\nprogram = {program:?}\n\
             [[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
             [[template.vm.disk]]\nname = \"os\"\npath = \"image.raw\"\n"
        ));
        Self(home)
    }

    /// Waits until the guest of `name` has written `text`: only what has gone wrong takes two
    /// minutes, however busy the host is.
    #[track_caller]
    fn wait_for_text(&self, name: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let log = self.0.ok(&format!("vm logs {name}"));
            if log.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "{text:?} not in {log:?}");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.0.command(&["vm", "rm", "--all", "--force"]).output());
    }
}

#[test_on(Ch, Kvm)]
fn ch_machines_go_through_their_life() {
    let lab = Lab::new(&TestKernel::prints("hello from the guest\n"));
    let home = &lab.0;
    let created = home.json("vm create -t xs --name buzz_matala --start");
    assert_eq!(created[0]["state"], "running");
    assert!(created[0]["pid"].is_u64());
    assert!(home.ok("vm ls").contains("│ 1  │ buzz_matala │ 1    │ 16 MiB │ running │"));
    assert!(home.ok("vm ls --color always").contains("\x1b[32mrunning"));
    assert_eq!(home.ok("vm start --id 1"), "buzz_matala is running already\n");
    let running = home.run("vm rm 1");
    running.fails_with(6, &["cannot remove machine buzz_matala: it is running", "v vm stop buzz"]);
    running.fails_with(6, &["v vm rm --force buzz_matala"]);
    assert_eq!(home.ok("vm pause 1"), "paused buzz_matala\n");
    assert_eq!(home.ok("vm pause 1"), "buzz_matala is paused already\n");
    home.run("vm start 1").fails_with(6, &["it is paused", "hint: v vm resume buzz_matala"]);
    for (verb, forced) in [("stop", "stop"), ("restart", "stop"), ("rm", "rm")] {
        let forced = format!("v vm {forced} --force buzz_matala");
        home.run(&format!("vm {verb} 1")).fails_with(6, &["v vm resume buzz_matala", &forced]);
    }
    assert_eq!(home.ok("vm resume 1"), "resumed buzz_matala\n");
    assert_eq!(home.ok("vm restart --force 1"), "restarted buzz_matala\n");
    assert!(home.ok("vm logs 1 --events").contains("booted"));
    lab.wait_for_text("buzz_matala", "hello from the guest\n");
    assert_eq!(home.ok("vm stop --force 1"), "stopped buzz_matala\n");
    assert!(home.ok("vm logs 1").contains("hello from the guest"));
    assert_eq!(home.json("vm info 1")["last_exit"], "forced");
    assert_eq!(home.ok("vm rm 1"), "removed buzz_matala\n");
    assert_eq!(home.json("vm ls"), serde_json::json!([]));
}

#[test_on(Ch, Kvm)]
fn ch_many_machines_are_operated_on_in_parallel() {
    let lab = Lab::new(&TestKernel::halt());
    let home = &lab.0;
    home.ok("vm create -t xs -n 5 --name web");
    // One of them can't start, and the others do.
    let gone = home.json("vm info web-3")["dir"].as_str().unwrap().to_owned();
    fs::remove_file(format!("{gone}/disk/os")).unwrap();
    let start = home.run("vm start --all");
    assert_eq!(start.code, 1, "{start:?}");
    assert_eq!(start.stdout.lines().count(), 4, "{start:?}");
    assert!(start.stderr.contains("cannot start machine web-3"), "{start:?}");
    assert!(start.stderr.contains("1 of 5 machines could not be started"), "{start:?}");
    assert_eq!(home.json("vm ls --state running").as_array().unwrap().len(), 4);
    assert_eq!(home.json("vm stop --force --state running").as_array().unwrap().len(), 4);
    assert_eq!(home.ok("vm rm --all").lines().count(), 5);
}

#[test_on(Ch, Kvm)]
fn ch_stop_sends_the_power_button_event_and_waits() {
    let deaf = Lab::new(&TestKernel::halt());
    deaf.0.ok("vm create -t xs --name deaf --start");
    let stop = deaf.0.run("vm stop deaf --timeout 1s");
    stop.fails_with(1, &["deaf did not power off within 1 s", "v vm stop --force deaf"]);
    assert_eq!(deaf.0.json("vm info deaf")["state"], "running");
    let polite = Lab::new(&TestKernel::obeys());
    polite.0.ok("vm create -t xs --name polite --start");
    assert_eq!(polite.0.ok("vm stop polite"), "stopped polite\n");
    assert_eq!(polite.0.json("vm info polite")["last_exit"], "stopped");
}

#[test_on(Ch, Kvm)]
fn ch_what_is_typed_at_the_console_reaches_the_guest() {
    use std::io::Write;
    use std::process::Stdio;

    let lab = Lab::new(&TestKernel::echoes("welcome\n"));
    let home = &lab.0;
    home.run("vm create -t xs --name web");
    home.run("vm console web").fails_with(6, &["it is stopped", "hint: v vm start web"]);
    home.ok("vm start web");
    // Once it has spoken, a console shows it, however soon that ends.
    lab.wait_for_text("web", "welcome\n");
    let mut console = home.command(&["vm", "console", "web"]);
    let mut console = console
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    console.stdin.take().unwrap().write_all(b"who is there?").unwrap();
    let output = console.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("welcome"), "{output:?}");
    lab.wait_for_text("web", "who is there?");
    home.ok("vm rm --force web");
}
