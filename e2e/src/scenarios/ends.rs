//! How a machine ends, and what is made of it: the guest panics, the kernel kills its VMM for want of memory, the
//! unit that looks after it is killed, the clock jumps meanwhile, the image is gone.

use super::{
    UP, in_scope, install_units, make_lan, no_orphans, port_works, remove_all, wait_for_address,
    wait_until_ready,
};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{SYSTEM_BRIDGE, Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    host.configure(&format!(
        "{SYSTEM_BRIDGE}\n[[template.vm]]\nname = \"xs\"\n{TINY}\n\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n\
         [[template.vm]]\nname = \"dog\"\n{}\nwatchdog = true\nrestart = \"on-failure\"\n",
        // The rest of its memory is none to the guest's kernel, and free for a queue of our own.
        TINY.replace("quiet", "quiet mem=160M iomem=relaxed")
    ))?;
    install_units(host)?;
    make_lan(host)?;
    watchdog(stage, host)?;
    host.v("vm create -t xs --name buzz --start")?;
    let buzz = host.machine("buzz")?;
    wait_for_address(host, &buzz)?;
    freed_memory(stage, host, &buzz)?;
    panic(host, &buzz)?;
    oom(host)?;
    clock_jumps(host)?;
    end_unit_is_killed(host)?;
    image_is_gone(host)?;
    no_orphans(host)?;
    remove_all(host)
}

/// What a guest frees comes back to the host.
fn freed_memory(stage: &Stage<'_>, host: &Host, machine: &Machine) -> Result<(), Failure> {
    let taken = || -> Result<u64, Failure> {
        let text = host.ok("v vm info buzz --json | jq .usage.memory", COMMAND)?;
        text.trim().parse().map_err(|_| Failure::new(format!("usage.memory is {text}")))
    };
    let mib = |bytes: u64| bytes >> 20;
    let before = taken()?;
    host.in_guest_ok(
        machine,
        "mount -o remount,size=90% /run && dd if=/dev/urandom of=/run/ballast bs=1M count=64 2>&1",
    )?;
    let full = taken()?;
    ensure!(
        full > before + (48 << 20),
        "64 MiB in the guest took {} to {}",
        mib(before),
        mib(full)
    );
    host.in_guest_ok(machine, "rm /run/ballast && echo 3 >/proc/sys/vm/drop_caches")?;
    // The guest reports what is free every two seconds, by its own clock.
    let mut after = full;
    for _ in 0..60 {
        after = taken()?;
        if after + (48 << 20) < full {
            break;
        }
        host.ok("sleep 1", COMMAND)?;
    }
    stage.note(format!(
        "memory of the scope: {} MiB, {} with 64 MiB written in the guest, {} once they were freed",
        mib(before),
        mib(full),
        mib(after)
    ));
    ensure!(after + (48 << 20) < full, "of 64 MiB freed, {} of {}", mib(full - after), mib(full));
    Ok(())
}

/// The guest's kernel panics, and reboots or is cut off; `v vm why` knows.
fn panic(host: &Host, machine: &Machine) -> Result<(), Failure> {
    // Its answer does not come.
    host.in_guest(machine, "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")?;
    host.ok(&format!("e2e-await {}/events.json '\"panic\"' 120", machine.dir), COMMAND)?;
    // It hangs, as it does on hardware: until its power is cut, by another hand than ours.
    host.ok(&format!("kill -9 {}", machine.pid.unwrap_or_default()), COMMAND)?;
    expect_exit(host, "panic", "guest")
}

/// The kernel kills the VMM for want of memory in its own cgroup.
fn oom(host: &Host) -> Result<(), Failure> {
    host.v("vm start buzz")?;
    let machine = host.machine("buzz")?;
    wait_for_address(host, &machine)?;
    let scope = "virshle-buzz.scope";
    host.ok(&format!("systemctl set-property --runtime {scope} MemoryMax=40M"), COMMAND)?;
    expect_exit(host, "oom", "kernel")?;
    let why = host.v("vm why buzz")?;
    ensure!(why.contains("oom-kill:") && why.contains(scope), "no record of the kernel: {why}");
    ensure!(why.contains("memory_overhead"), "nothing to do about it: {why}");
    Ok(())
}

/// A clock that is set changes neither when a restart comes nor how long a run has lasted.
fn clock_jumps(host: &Host) -> Result<(), Failure> {
    host.v("vm set buzz restart=on-failure")?;
    host.v("vm start buzz")?;
    let first = host.machine("buzz")?.pid.unwrap_or_default();
    for jump in ["+3 days", "-5 days"] {
        let pid = host.machine("buzz")?.pid.unwrap_or_default();
        host.ok(&format!("kill -9 {pid}; date -s '{jump}'"), COMMAND)?;
        wait_for_another(host, "buzz", pid)?;
    }
    host.ok("date -s '+2 days'", COMMAND)?;
    let longest = host.ok("v vm why buzz --json | jq '[.[].seconds] | max'", COMMAND)?;
    let longest: u64 = longest.trim().parse().unwrap_or(u64::MAX);
    ensure!(longest < 3600, "a run of some minutes lasted {longest} s");
    let now = host.machine("buzz")?.pid.unwrap_or_default();
    ensure!(now != first, "it was never restarted");
    in_scope(host, now, "virshle-buzz")
}

/// The unit that looks after the end is killed at its work, and does it all the same.
fn end_unit_is_killed(host: &Host) -> Result<(), Failure> {
    let unit = "virshle-ended@";
    host.ok(
        &format!(
            "mkdir -p /run/systemd/system/{unit}.service.d
            cat >/run/systemd/system/{unit}.service.d/killed.conf <<'END'
[Service]
ExecStart=
ExecStart=/bin/sh -c 'if mkdir /var/lib/virshle/killed; then kill -9 $$$$; fi; exec /usr/local/bin/v node ended %I'
END
            systemctl daemon-reload"
        ),
        COMMAND,
    )?;
    let pid = host.machine("buzz")?.pid.unwrap_or_default();
    host.ok(&format!("kill -9 {pid}"), COMMAND)?;
    wait_for_another(host, "buzz", pid)?;
    host.ok("rmdir /var/lib/virshle/killed", COMMAND)?;
    host.ok(
        &format!("rm -r /run/systemd/system/{unit}.service.d && systemctl daemon-reload"),
        COMMAND,
    )?;
    port_works(host, &host.machine("buzz")?).map(drop)
}

/// A restart whose kernel is not there is tried again, told of, and succeeds once it is back.
fn image_is_gone(host: &Host) -> Result<(), Failure> {
    let machine = host.machine("buzz")?;
    let pid = machine.pid.unwrap_or_default();
    let kernel = "/var/lib/virshle/cache/vmlinuz";
    host.ok(&format!("mv {kernel} {kernel}.away && kill -9 {pid}"), COMMAND)?;
    host.ok(
        "for i in $(seq 300); do
            v vm why buzz | grep -q 'not restarted: the last one failed' && exit 0
            sleep 0.2
        done; v vm why buzz; exit 1",
        COMMAND,
    )?;
    let why = host.v("vm why buzz")?;
    ensure!(why.contains("vmlinuz"), "not a word of what is missing: {why}");
    host.ok(&format!("mv {kernel}.away {kernel}"), COMMAND)?;
    wait_for_another(host, "buzz", pid)?;
    host.v("vm stop --force buzz")?;
    host.v("vm set buzz restart=no").map(drop)
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

/// Waits until the end is recorded, and by whom.
fn expect_exit(host: &Host, exit: &str, by: &str) -> Result<(), Failure> {
    host.ok(
        &format!(
            "for i in $(seq 600); do
                [ \"$(v vm info buzz --json | jq -r .state)\" = stopped ] && break
                sleep 0.2
            done
            v vm why buzz --json | jq -e '.[0].exit == \"{exit}\" and .[0].by == \"{by}\"' >/dev/null \
                || {{ v vm why buzz; journalctl --no-pager -n 30; exit 1; }}"
        ),
        COMMAND,
    )
    .map(drop)
}

/// Waits until the machine runs in another process than that one.
fn wait_for_another(host: &Host, name: &str, pid: u32) -> Result<(), Failure> {
    host.ok(
        &format!(
            "for i in $(seq 600); do
                now=$(v vm info {name} --json | jq -r 'select(.state == \"running\").pid')
                [ -n \"$now\" ] && [ \"$now\" != {pid} ] && exit 0
                sleep 0.2
            done; v vm why {name}; exit 1"
        ),
        COMMAND,
    )
    .map(drop)
}
