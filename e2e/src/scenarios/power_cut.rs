//! The host loses its power, again and again, while machines are created, started and removed, and
//! now and then while it boots. Each time it comes back with every machine that was promised, none that was
//! removed, nothing half-made, and the machines up that start with the host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::{expect_state, install_units, make_lan, no_orphans, port_works};
use crate::failure::{Failure, While, ensure};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{SYSTEM_BRIDGE, Stage};

/// How often the power is cut while `v` is at work; `E2E_CUTS` says otherwise.
const CUTS: u32 = 20;

const TEMPLATES: &str = r#"
[[template.vm]]
name = "auto"
autostart = true
vcpu = 1
vram = "128MiB"
kernel = "/var/lib/virshle/cache/vmlinuz"
initramfs = "/var/lib/virshle/cache/tiny.img"
cmdline = "console=ttyS0 quiet"
[[template.vm.disk]]
name = "os"
path = "/var/lib/virshle/cache/boots.raw"
[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]

[[template.vm]]
name = "work"
vcpu = 1
vram = "128MiB"
kernel = "/var/lib/virshle/cache/vmlinuz"
initramfs = "/var/lib/virshle/cache/tiny.img"
cmdline = "console=ttyS0 quiet"
[[template.vm.disk]]
name = "os"
path = "/var/lib/virshle/cache/boots.raw"
[[template.vm.disk]]
name = "copy"
path = "/var/lib/virshle/cache/vmlinuz"
size = "32M"
clone = "copy"
[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]
"#;

/// Creates, starts and removes machines for as long as there is power. It says what it does before
/// and what was promised after, when `v` has reported it.
const WORK: &str = r#"
mine=
while :; do
    echo creating
    for machine in $(v vm create -t work -n 2 --json | jq -r '.[] | select(.uuid) | "\(.uuid):\(.id)"'); do
        echo "created $machine"
        mine="$mine ${machine%:*}"
    done
    set -- $mine
    echo "starting $1"
    v vm start "$1" >/dev/null 2>&1 && echo "started $1"
    while [ $# -gt 1 ]; do
        echo "removing $1"
        v vm rm --force "$1" >/dev/null 2>&1 && echo "removed $1"
        shift
    done
    mine="$*"
done
"#;

/// What the work is at when the power is cut.
const PHASES: [&str; 3] = ["creating", "starting", "removing"];

/// Less than any cut takes, boot and all, where the time is limited.
const ONE_CUT: Duration = Duration::from_secs(90);

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    let cuts = number_in_environment("E2E_CUTS").unwrap_or(u64::from(CUTS));
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = number_in_environment("E2E_SEED").unwrap_or(clock.as_secs());
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut promises = Promises::default();

    // A restored host keeps its clock and its boot id: what is cut first is one that has booted.
    stage.on_host(|host| prepare(host, &mut promises))?;
    let (mut at_work, mut at_boot) = (0, 0);
    while at_work < cuts {
        if stage.left().is_some_and(|left| left < 2 * ONE_CUT) {
            stage.note(format!("NOT ALL {cuts} CUTS: the time is up"));
            break;
        }
        let doing = || format!("cut {} of {cuts} (E2E_SEED={seed})", at_work + 1);
        let (host, ()) = stage.on_booted_host(|host| inspect(host, &mut promises)).doing(doing)?;
        host.v("vm start keeper")?;
        promises.running.insert(promises.keeper.clone());
        let work = host.listen(WORK)?;
        // At a moment of its own in one of the first rounds.
        let phase = usize::try_from(dice.below(3)).unwrap_or_default();
        let round = 1 + usize::try_from(dice.below(2)).unwrap_or_default();
        work.wait_for(PHASES[phase], round).doing(doing)?;
        std::thread::sleep(Duration::from_millis(dice.below(1500)));
        host.cut();
        promises.read(&work.lines()?);
        at_work += 1;

        // Now and then once more before that boot is done.
        while dice.below(4) == 0 {
            let host = stage.power_on()?;
            std::thread::sleep(Duration::from_millis(3000 + dice.below(15_000)));
            host.cut();
            promises.running.clear();
            at_boot += 1;
        }
    }
    if at_work == 0 && cuts > 0 {
        return Err(Failure::missing("there was no time for a single cut"));
    }
    let last = || format!("after the last of {at_work} cuts (E2E_SEED={seed})");
    let (host, ()) = stage.on_booted_host(|host| inspect(host, &mut promises)).doing(last)?;
    host.cut();
    let [creating, starting, removing] = promises.cut_at;
    stage.note(format!(
        "{at_work} cuts at work (E2E_SEED={seed}): {creating} while machines were created, \
         {starting} while one was started, {removing} while one was removed; {at_boot} more while \
         the host booted; {} machines were created, {} removed, the power went while {} ran",
        promises.created,
        promises.removed.len(),
        promises.were_running,
    ));
    let forgotten = &promises.forgotten;
    ensure!(
        forgotten.is_empty(),
        "last_exit of a machine that ran when the power went isn't \"host\" but {}",
        forgotten.join(", ")
    );
    Ok(())
}

/// What `v` has promised so far.
#[derive(Debug, Default)]
struct Promises {
    /// Created, and no command asked for their removal. By uuid.
    exist: BTreeSet<String>,
    /// Removed, as `v` reported.
    removed: BTreeSet<String>,
    /// How many were made in all.
    created: usize,
    /// The largest id that was given out.
    largest_id: u64,
    /// The machine that runs whatever the work does.
    keeper: String,
    /// Started, as `v` reported, and running when the power went.
    running: BTreeSet<String>,
    /// How many such there were in all.
    were_running: usize,
    /// How many cuts came in each of the [`PHASES`].
    cut_at: [usize; 3],
    /// What `last_exit` was instead of `host` after such a cut. Reported at the end, so that it hides
    /// nothing worse.
    forgotten: Vec<String>,
}

impl Promises {
    /// Reads what the work printed until the power went.
    fn read(&mut self, printed: &str) {
        for line in printed.lines() {
            match line.split_once(' ') {
                Some(("created", machine)) => {
                    let (uuid, id) = machine.split_once(':').unwrap_or((machine, "0"));
                    self.created += 1;
                    self.largest_id = self.largest_id.max(id.parse().unwrap_or(0));
                    self.exist.insert(uuid.to_owned());
                }
                Some(("started", uuid)) => {
                    self.running.insert(uuid.to_owned());
                }
                Some(("removing", uuid)) => {
                    self.exist.remove(uuid);
                    self.running.remove(uuid);
                }
                Some(("removed", uuid)) => {
                    self.removed.insert(uuid.to_owned());
                }
                _ => {}
            }
        }
        let last = printed.lines().next_back().unwrap_or_default();
        if let Some(phase) = PHASES.iter().position(|phase| last.starts_with(phase)) {
            self.cut_at[phase] += 1;
        }
    }

    /// Whether the machines that ran when the power went are known to have ended by that.
    fn remember(&mut self, machines: &[Machine]) {
        for machine in machines.iter().filter(|machine| self.running.contains(&machine.uuid)) {
            self.were_running += 1;
            if machine.last_exit.as_deref() != Some("host") {
                let last = machine.last_exit.as_deref().unwrap_or("nothing");
                self.forgotten.push(format!("{last} ({})", machine.name));
            }
        }
        self.running.clear();
    }
}

/// Makes the machines that are there throughout, the unit that starts some of them, and what is
/// none of Virshle's business.
fn prepare(host: &Host, promises: &mut Promises) -> Result<(), Failure> {
    host.configure(&format!("{SYSTEM_BRIDGE}{TEMPLATES}"))?;
    make_lan(host)?;
    install_units(host)?;
    host.ok(
        "set -e
        ovs-vsctl --timeout=10 add-br other -- add-port other other1 -- \
            set Interface other1 type=internal -- set Port other1 external_ids:owner=other
        ovs-vsctl --timeout=10 add-port br0 other2 -- set Interface other2 type=internal
        cd /var/lib/virshle/cache
        sha256sum boots.raw tiny.img vmlinuz >/root/sums
        stat -c '%n %Y' boots.raw tiny.img vmlinuz >/root/times
        sync",
        COMMAND,
    )?;
    for arguments in ["-t auto --name first", "-t auto --name second", "-t work --name keeper"] {
        host.v(&format!("vm create {arguments}"))?;
    }
    // No sync from here on: what `v` has promised is on the disk.
    promises.exist.extend(host.machines()?.into_iter().map(|machine| machine.uuid));
    promises.keeper = host.machine("keeper")?.uuid;
    Ok(())
}

/// Looks at everything that has to hold after a cut, and that everything works.
fn inspect(host: &Host, promises: &mut Promises) -> Result<(), Failure> {
    // Waits for the job of the boot, and fails if that has failed.
    host.ok("systemctl start virshle", COMMAND)
        .doing(|| "the machines of the host did not start with it".to_owned())?;
    let machines = host.machines()?;
    let by_uuid: BTreeMap<_, _> =
        machines.iter().map(|machine| (machine.uuid.as_str(), machine)).collect();

    for uuid in &promises.exist {
        ensure!(by_uuid.contains_key(uuid.as_str()), "machine {uuid} was created and is gone");
    }
    for uuid in &promises.removed {
        ensure!(!by_uuid.contains_key(uuid.as_str()), "machine {uuid} was removed and is back");
    }
    let ids: BTreeSet<_> = machines.iter().map(|machine| machine.id).collect();
    ensure!(ids.len() == machines.len(), "two machines have one id: {ids:?}");
    let names: BTreeSet<_> = machines.iter().map(|machine| &machine.name).collect();
    ensure!(names.len() == machines.len(), "two machines have one name: {names:?}");

    for machine in &machines {
        if matches!(machine.name.as_str(), "first" | "second") {
            expect_state(machine, "running")?;
            port_works(host, machine)?;
        } else {
            expect_state(machine, "stopped")?;
        }
    }
    promises.remember(&machines);

    // A machine is a directory with a definition, and `v` shows all of them.
    let directories = host.ok(
        "cd /var/lib/virshle/vm && find . -mindepth 2 -maxdepth 2 -name vm.toml -printf '%h\n' |
         sed 's,^./,,' | grep -v '^[.]' || true",
        COMMAND,
    )?;
    let directories: BTreeSet<_> = directories.lines().collect();
    let shown: BTreeSet<_> = by_uuid.keys().copied().collect();
    ensure!(
        directories == shown,
        "directories with a definition: {directories:?}\nv shows: {shown:?}"
    );
    host.ok(
        "cd /var/lib/virshle/cache && sha256sum --quiet -c /root/sums &&
         stat -c '%n %Y' boots.raw tiny.img vmlinuz | cmp - /root/times",
        COMMAND,
    )
    .doing(|| "a source image was written".to_owned())?;

    // What was cut short is swept by the next change, or by hand, and then nothing is left over.
    let made: Vec<Machine> = host.v_json("vm create -t work")?;
    let [made] = &made[..] else {
        return Err(Failure::new(format!("one machine was to be made: {made:?}")));
    };
    let largest = machines.iter().map(|machine| machine.id).fold(promises.largest_id, u64::max);
    ensure!(made.id > largest, "id {} was given out before: {largest} was", made.id);
    promises.largest_id = made.id;
    let swept = host.ok("ls -A /var/lib/virshle/vm | grep '^[.]' || true", COMMAND)?;
    ensure!(swept.trim().is_empty(), "still there after the next create: {swept}");
    host.sh("v node check --repair", COMMAND)?;
    no_orphans(host)?;
    only_what_runs(host, &host.machines()?)?;

    // Every machine works; the machines of the work are removed, so that they don't pile up.
    host.v(&format!("vm start {}", made.name))?;
    host.v(&format!("vm stop --force {}", made.name))?;
    host.v("vm ls --template work --json >/run/work")?;
    host.ok(
        r#"jq -r '.[] | select(.name != "keeper") | .uuid' /run/work | xargs -r v vm rm"#,
        COMMAND,
    )?;
    promises.exist = host.machines()?.into_iter().map(|machine| machine.uuid).collect();
    ensure!(promises.exist.len() == 3, "of the three machines: {:?}", promises.exist);
    Ok(())
}

/// Looks past `v`: every process, port and tap belongs to a machine that runs, and what is none of
/// Virshle's business is as it was.
fn only_what_runs(host: &Host, machines: &[Machine]) -> Result<(), Failure> {
    let running: Vec<_> = machines.iter().filter(|machine| machine.state == "running").collect();
    let listed = |script: &str| -> Result<BTreeSet<String>, Failure> {
        Ok(host.ok(script, COMMAND)?.split_whitespace().map(str::to_owned).collect())
    };
    let pids = running.iter().filter_map(|machine| machine.pid.map(|pid| pid.to_string()));
    let found = listed("pgrep cloud-hyperviso || true")?;
    ensure!(found == pids.collect(), "processes {found:?} of the machines {running:?}");
    let ports: BTreeSet<_> = running
        .iter()
        .flat_map(|machine| machine.nets.iter().filter_map(|net| net.port.clone()))
        .collect();
    let found = listed(
        "ovs-vsctl --timeout=10 --bare --columns=name find Port 'external_ids:virshle-uuid!=\"\"'",
    )?;
    ensure!(found == ports, "ports {found:?} of the machines {running:?}");
    let found = listed("ls /sys/class/net | grep -E '^vm[0-9]+-' || true")?;
    ensure!(found == ports, "taps {found:?} of the machines {running:?}");
    host.ok(
        "test \"$(ovs-vsctl --timeout=10 get Port other1 external_ids)\" = '{owner=other}' &&
         test \"$(ovs-vsctl --timeout=10 port-to-br other2)\" = br0",
        COMMAND,
    )
    .doing(|| "what is none of Virshle's business was touched".to_owned())
    .map(drop)
}

/// Numbers that are random, and the same for the same seed.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn number_in_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
