//! A guest that hangs: its watchdog resets it, and that is a failure.

use super::ends::wait_for_another;
use super::{UP, install_units, no_orphans, remove_all, wait_until_ready};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    // The rest of its memory is none to the guest's kernel, and free for a queue of our own.
    let tiny = TINY.replace("quiet", "quiet mem=160M iomem=relaxed");
    host.configure(&format!(
        "[[template.vm]]\nname = \"dog\"\n{tiny}\nwatchdog = true\nrestart = \"on-failure\"\n"
    ))?;
    install_units(host)?;
    watchdog(stage, host)?;
    no_orphans(host)?;
    remove_all(host)
}

/// Feeds the watchdog once, as a driver of it does: Linux has none. The device is the one of virtio's type 35;
/// offsets are those of its configuration (virtio 1.2, 4.1.4.3), and cloud-hypervisor's for notifications.
const FEED: &str = r#"
set -e
cd /sys/bus/pci/devices
for device in *; do [ "$(cat $device/device)" = 0x1063 ] && break; done
[ ! -e $device/driver ] || echo $device >$device/driver/unbind
echo 1 >$device/enable
read -r bar rest <$device/resource
at() { printf '0x%x' $(($1 + $2)); }
reg() { devmem $(at $bar $1) $2 $3; }
ram=0x0a800000
zero() { for i in 0 4 8 12; do devmem $(at $ram $(($1 + i))) 32 0; done; }
zero 0; zero 0x100; zero 0x200; zero 0x300
# One descriptor that the device writes to, and it is available.
devmem $ram 32 $(at $ram 0x300); devmem $(at $ram 8) 32 1; devmem $(at $ram 12) 16 2
devmem $(at $ram 0x102) 16 1
for status in 0 1 3; do reg 0x14 8 $status; done
reg 0x08 32 0; reg 0x0c 32 0; reg 0x08 32 1; reg 0x0c 32 1
reg 0x14 8 11
reg 0x16 16 0
reg 0x20 32 $ram; reg 0x24 32 0
reg 0x28 32 $(at $ram 0x100); reg 0x2c 32 0
reg 0x30 32 $(at $ram 0x200); reg 0x34 32 0
reg 0x1c 16 1
reg 0x14 8 15
reg 0x6000 16 0
sleep 1
[ "$(devmem $(at $ram 0x300) 8)" = 0x01 ] && echo fed
"#;

/// A guest that feeds its watchdog no longer is reset, which is a failure.
fn watchdog(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    host.v("vm create -t dog --name buzz-dog --start")?;
    let machine = host.machine("buzz-dog")?;
    wait_until_ready(host, &machine)?;
    let fed = host.in_guest_ok(&machine, FEED)?;
    ensure!(fed.contains("fed"), "the watchdog was not fed: {fed}");
    let took = host.ok(
        &format!(
            "begin=$(date +%s)
            e2e-await {}/ch.log 'Watchdog triggered' 300 && echo $(($(date +%s) - begin))",
            machine.dir
        ),
        UP + COMMAND,
    )?;
    stage.note(format!("the watchdog reset the guest {} s after its last food", took.trim()));
    let script = format!(
        "for second in $(seq 300); do [ \"$(grep -c '^tiny: READY' {}/serial.log)\" -lt 2 ] || \
         exit 0; sleep 1; done; exit 1",
        machine.dir
    );
    host.ok(&script, UP + COMMAND)?;
    let pid = machine.pid.unwrap_or_default();
    ensure!(host.machine("buzz-dog")?.pid == Some(pid), "it has another VMM after its reset");
    let resets = host.ok("v vm info buzz-dog --json | jq .restart.watchdog_resets", COMMAND)?;
    ensure!(resets.trim() == "1", "v vm info knows of {resets} resets");
    // The next failure is the second of the row.
    host.ok(&format!("kill -9 {pid}"), COMMAND)?;
    wait_for_another(host, "buzz-dog", pid)?;
    let attempts = host.ok("v vm info buzz-dog --json | jq .restart.attempts", COMMAND)?;
    ensure!(attempts.trim() == "2", "it was restart {attempts}");
    let why = host.v("vm why buzz-dog")?;
    ensure!(why.contains("watchdog: reset the guest"), "v vm why: {why}");
    host.v("vm stop --force buzz-dog").map(drop)
}
