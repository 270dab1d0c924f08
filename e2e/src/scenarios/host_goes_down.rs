//! `systemctl poweroff` of the host: its guests see their power button, and those that start with the host
//! are back after its next boot.

use std::time::Duration;

use super::{expect_state, install_units, make_lan, no_orphans, remove_all, wait_for_address};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{SYSTEM_BRIDGE, Stage, TINY};

/// How long the guests may take, in seconds: two orders more than they need, on an idle machine.
const TIMEOUT: u64 = 60;
/// The host, from `poweroff` to off. One guest takes all of [`TIMEOUT`].
const DOWN: Duration = Duration::from_secs(400);

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    let (host, ()) = stage.on_booted_host(prepare)?;
    host.sh("systemctl poweroff --no-block", COMMAND)?;
    host.wait_for_end(DOWN)?;
    let (host, ()) = stage.on_booted_host(|host| inspect(stage, host))?;
    host.cut();
    Ok(())
}

fn prepare(host: &Host) -> Result<(), Failure> {
    host.configure(&format!(
        "[node]\nshutdown_timeout = {TIMEOUT}\n{SYSTEM_BRIDGE}\n\
         [[template.vm]]\nname = \"xs\"\n{TINY}\n\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n"
    ))?;
    install_units(host)?;
    make_lan(host)?;
    host.ok("systemctl start virshle", COMMAND)?;
    for name in ["auto", "other", "deaf"] {
        host.v(&format!("vm create -t xs --name {name} --start"))?;
    }
    host.v("vm autostart auto on")?;
    for name in ["auto", "other", "deaf"] {
        wait_for_address(host, &host.machine(name)?)?;
    }
    let deaf = host.machine("deaf")?;
    host.in_guest_ok(&deaf, "killall acpid").map(drop)
}

fn inspect(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    host.ok("systemctl start virshle", COMMAND)?;
    let serial =
        |machine: &Machine, file: &str| host.ok(&format!("cat {}/{file}", machine.dir), COMMAND);
    for name in ["auto", "other"] {
        let machine = host.machine(name)?;
        // That of the run before, if it has been started since.
        let file = if name == "auto" { "serial.log.1" } else { "serial.log" };
        let text = serial(&machine, file)?;
        for words in ["tiny: power button", "tiny: poweroff"] {
            ensure!(text.contains(words), "{name} never said {words:?}:\n{text}");
        }
        let why = host.v(&format!("vm why {name} --json"))?;
        ensure!(why.contains("\"exit\": \"host\""), "{name}: {why}");
    }
    let deaf = host.machine("deaf")?;
    expect_state(&deaf, "stopped")?;
    let text = serial(&deaf, "serial.log")?;
    ensure!(!text.contains("tiny: power"), "the deaf guest heard its button:\n{text}");
    let last = deaf.last_exit.as_deref();
    ensure!(last == Some("host"), "last_exit of the deaf guest is {last:?}");
    expect_state(&host.machine("auto")?, "running")?;
    expect_state(&host.machine("other")?, "stopped")?;
    let seconds = |name: &str| -> Result<u64, Failure> {
        let script = format!("v vm why {name} --json | jq '.[0].ended | fromdate'");
        host.ok(&script, COMMAND)?.trim().parse().map_err(|_| Failure::new("no time in v vm why"))
    };
    let (other, deaf) = (seconds("other")?, seconds("deaf")?);
    ensure!(other < deaf, "the deaf guest delayed another one: {other} and {deaf}");
    ensure!(deaf <= other + TIMEOUT + 30, "the deaf guest was waited for: {other}, {deaf}");
    stage.note(format!(
        "the deaf guest lost its power {} s after the others were off",
        deaf - other
    ));
    no_orphans(host)?;
    remove_all(host)
}
