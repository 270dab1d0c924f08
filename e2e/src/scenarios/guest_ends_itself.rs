//! A guest restarts itself and stays the same machine; a guest powers itself off and `v` knows it.

use super::{expect_state, port_works, remove_all, start_buzz, wait_for_address};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::Stage;

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

fn play(host: &Host) -> Result<(), Failure> {
    let (first, address) = start_buzz(host)?;
    let port = port_works(host, &first)?;

    // The answer to the command may be lost with the guest.
    host.in_guest(&first, "reboot")?;
    host.wait_for_serial(&first, "^tiny: boots 2", super::UP)?;
    let again = wait_for_address(host, &first)?;
    ensure!(again == address, "the guest had {address} and has {again} after its restart");
    let second = host.machine("buzz")?;
    expect_state(&second, "running")?;
    ensure!(second.pid == first.pid, "pid {:?} became {:?}", first.pid, second.pid);
    let same = port_works(host, &second)?;
    ensure!(same == port, "its port was number {port} and is number {same}");
    let uptime = host.in_guest_at(&address, "cut -d. -f1 /proc/uptime")?;
    ensure!(uptime.trim().parse::<u64>().is_ok(), "uptime in the guest: {uptime:?}");

    host.in_guest(&second, "poweroff")?;
    let pid = second.pid.ok_or_else(|| Failure::new("a running machine without a pid"))?;
    // tail watches the process, and ends with it.
    host.ok(&format!("timeout 60 tail --pid={pid} -f /dev/null"), COMMAND)?;
    let ended = host.machine("buzz")?;
    expect_state(&ended, "stopped")?;
    let last = ended.last_exit.as_deref();
    ensure!(last == Some("guest"), "last_exit is {last:?} after poweroff in the guest");

    // What such an end leaves behind doesn't keep the machine from starting again.
    host.v("vm start buzz")?;
    host.wait_for_serial(&ended, "^tiny: boots 3", super::UP)?;
    remove_all(host)
}
