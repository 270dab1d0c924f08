//! The host loses its power, again and again, while machines are created, started and removed, or
//! while it boots. Each time it comes back with every machine that was promised, none that was
//! removed, nothing half-made, and the machines up that start with the host.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::{expect_state, make_lan, no_orphans, port_works};
use crate::failure::{Failure, While, ensure};
use crate::host::{Background, COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{SYSTEM_BRIDGE, Stage};

/// How often the power is cut; `E2E_CUTS` says otherwise.
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
path = "/var/lib/virshle/cache/tiny.img"
size = "32M"
clone = "copy"
[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]
"#;

/// Creates, starts and removes machines for as long as there is power, and says what was promised:
/// `created` and `removed` when `v` has said so, `removing` before it is asked.
const WORK: &str = r#"
mine=
while :; do
    for uuid in $(v vm create -t work -n 2 --json | jq -r '.[].uuid // empty'); do
        echo "created $uuid"
        mine="$mine $uuid"
    done
    set -- $mine
    v vm start "$1" >/dev/null 2>&1 && echo "started $1"
    while [ $# -gt 3 ]; do
        echo "removing $1"
        v vm rm --force "$1" >/dev/null 2>&1 && echo "removed $1"
        shift
    done
    mine="$*"
done
"#;

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    let cuts = number_in_environment("E2E_CUTS").unwrap_or(u64::from(CUTS));
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = number_in_environment("E2E_SEED").unwrap_or(clock.as_secs());
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut promises = Promises::default();

    // A restored host keeps its clock and its boot id: what is cut first is one that has booted.
    stage.on_host(|host| prepare(host, &mut promises))?;
    let mut at_work = 0;
    for cut in 1..=cuts {
        // One of four comes while the host boots and starts its machines.
        if cut > 1 && dice.below(4) == 0 {
            let host = stage.power_on()?;
            std::thread::sleep(Duration::from_millis(4000 + dice.below(12_000)));
            host.cut();
            promises.keeper_ran = false;
            continue;
        }
        at_work += 1;
        let doing = || format!("cut {cut} of {cuts} (E2E_SEED={seed})");
        let (host, ()) = stage.on_booted_host(|host| inspect(host, &mut promises)).doing(doing)?;
        host.v("vm start keeper")?;
        promises.keeper_ran = true;
        let work = host.listen(WORK)?;
        std::thread::sleep(Duration::from_millis(300 + dice.below(7000)));
        host.cut();
        promises.hear(work);
    }
    let last = || format!("after the last of {cuts} cuts (E2E_SEED={seed})");
    let (host, ()) = stage.on_booted_host(|host| inspect(host, &mut promises)).doing(last)?;
    host.cut();
    stage.note(format!(
        "{cuts} cuts (E2E_SEED={seed}), {at_work} of them while machines were created, started and \
         removed, the others while the host booted; {} machines created, {} removed",
        promises.created,
        promises.removed.len()
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
    /// Made, and nobody asked for their removal. By uuid.
    exist: BTreeSet<String>,
    /// Removed, as `v` said.
    removed: BTreeSet<String>,
    /// How many were made in all.
    created: usize,
    /// The largest id that was seen.
    largest_id: u64,
    /// Whether the keeper ran when the power went.
    keeper_ran: bool,
    /// What `last_exit` was instead of `host` after such a cut. Told at the end, so that it hides
    /// nothing worse.
    forgotten: Vec<String>,
}

impl Promises {
    /// Takes in what the work said until the power went.
    fn hear(&mut self, work: Background) {
        for line in work.said().lines() {
            match line.split_once(' ') {
                Some(("created", uuid)) => {
                    self.created += 1;
                    self.exist.insert(uuid.to_owned());
                }
                Some(("removing", uuid)) => {
                    self.exist.remove(uuid);
                }
                Some(("removed", uuid)) => {
                    self.removed.insert(uuid.to_owned());
                }
                _ => {}
            }
        }
    }
}

/// Makes the machines that are there throughout, and the unit that starts some of them.
fn prepare(host: &Host, promises: &mut Promises) -> Result<(), Failure> {
    host.configure(&format!("{SYSTEM_BRIDGE}{TEMPLATES}"))?;
    make_lan(host)?;
    host.ok(
        "set -e
        cp /opt/e2e/systemd/virshle-autostart.service /etc/systemd/system/
        systemctl --quiet enable virshle-autostart
        cd /var/lib/virshle/cache
        sha256sum boots.raw tiny.img >/root/sums
        stat -c '%n %Y' boots.raw tiny.img >/root/times
        sync",
        COMMAND,
    )?;
    for words in ["-t auto --name first", "-t auto --name second", "-t work --name keeper"] {
        host.v(&format!("vm create {words}"))?;
    }
    // No sync from here on: what `v` has promised is on the disk.
    promises.exist.extend(host.machines()?.into_iter().map(|machine| machine.uuid));
    Ok(())
}

/// Looks at everything that has to hold after a cut, and that everything works.
fn inspect(host: &Host, promises: &mut Promises) -> Result<(), Failure> {
    // Waits for the job of the boot, and fails if that has failed.
    host.ok("systemctl start virshle-autostart", COMMAND)
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
        if machine.name == "keeper" && promises.keeper_ran {
            let last = machine.last_exit.as_deref();
            if last != Some("host") {
                promises.forgotten.push(format!("{last:?}"));
            }
        }
    }

    // A machine is a folder with a definition, and `v` shows all of them.
    let folders = host.ok(
        "cd /var/lib/virshle/vm && find . -mindepth 2 -maxdepth 2 -name vm.toml -printf '%h\n' |
         sed 's,^./,,' | grep -v '^[.]' || true",
        COMMAND,
    )?;
    let folders: BTreeSet<_> = folders.lines().collect();
    let shown: BTreeSet<_> = by_uuid.keys().copied().collect();
    ensure!(folders == shown, "folders with a definition: {folders:?}\nv shows: {shown:?}");
    host.ok(
        "cd /var/lib/virshle/cache && sha256sum --quiet -c /root/sums &&
         stat -c '%n %Y' boots.raw tiny.img | cmp - /root/times",
        COMMAND,
    )
    .doing(|| "a source image was written".to_owned())?;

    // What was cut short is swept by the next change, or by hand, and then nothing is left over.
    let made: Vec<Machine> = host.v_json("vm create -t work")?;
    let [made] = &made[..] else {
        return Err(Failure::new(format!("one machine was to be made: {made:?}")));
    };
    ensure!(made.id > promises.largest_id, "id {} was given out before", made.id);
    promises.largest_id = made.id;
    let swept = host.ok("ls -A /var/lib/virshle/vm | grep '^[.]' || true", COMMAND)?;
    ensure!(swept.trim().is_empty(), "still there after the next create: {swept}");
    host.sh("v node check --repair", COMMAND)?;
    no_orphans(host)?;

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
