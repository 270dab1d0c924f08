//! `v vm stop` presses the power button: the guest shuts itself down, and `v` knows how it ended.

use super::{expect_state, remove_all, start_buzz, wait_for_address};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::Stage;

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

fn play(host: &Host) -> Result<(), Failure> {
    let (machine, _) = start_buzz(host)?;
    host.v("vm stop buzz")?;
    let serial = host.ok(&format!("cat {}/serial.log", machine.dir), COMMAND)?;
    for line in ["tiny: power button", "tiny: poweroff"] {
        ensure!(serial.contains(line), "the guest never printed {line:?}:\n{serial}");
    }
    let machine = host.machine("buzz")?;
    expect_state(&machine, "stopped")?;
    let last = machine.last_exit.as_deref();
    ensure!(last == Some("stopped"), "last_exit is {last:?} after v vm stop");

    // Once more, and by force: the guest isn't asked, and `v` says so.
    host.v("vm start buzz")?;
    let machine = host.machine("buzz")?;
    wait_for_address(host, &machine)?;
    host.v("vm stop --force buzz")?;
    let serial = host.ok(&format!("cat {}/serial.log", machine.dir), COMMAND)?;
    ensure!(!serial.contains("tiny: power"), "the guest was asked:\n{serial}");
    let last = host.machine("buzz")?.last_exit;
    ensure!(last.as_deref() == Some("forced"), "last_exit is {last:?} after --force");

    // A guest that ignores the button: an error within the time given, and it runs on.
    host.v("vm start buzz")?;
    let machine = host.machine("buzz")?;
    wait_for_address(host, &machine)?;
    host.in_guest_ok(&machine, "killall acpid")?;
    let outcome = host.sh("v vm stop --timeout 3s buzz", COMMAND)?;
    ensure!(outcome.code == 1, "a deaf guest: v vm stop ended with {}", outcome.code);
    ensure!(outcome.stderr.contains("buzz"), "its error names no machine: {}", outcome.stderr);
    expect_state(&host.machine("buzz")?, "running")?;
    remove_all(host)
}
