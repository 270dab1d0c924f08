//! Many machines end at once; all machines are shut down while another one starts.

use std::env;
use std::time::Duration;

use super::{expect_state, install_units, make_lan, no_orphans, remove_all};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{SYSTEM_BRIDGE, Stage};

/// How many, unless `E2E_MACHINES` says it.
const MANY: u32 = 30;

/// All of them, started or ended. Emulated, each takes a second or two of the one processor.
const ALL: Duration = Duration::from_secs(900);

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    let many = env::var("E2E_MACHINES").ok().and_then(|text| text.parse().ok()).unwrap_or(MANY);
    host.configure(&format!(
        "{SYSTEM_BRIDGE}\n[[template.vm]]\nname = \"none\"\nvcpu = 1\nvram = \"16MiB\"\n\
         kernel = \"/opt/e2e/halt.elf\"\n\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n"
    ))?;
    install_units(host)?;
    make_lan(host)?;
    host.ok("systemctl start virshle", COMMAND)?;
    host.v(&format!("vm create -t none -n {many}"))?;
    let took = host.ok(
        "begin=$(date +%s%3N); v vm start --all >&2 || exit 1; echo $(($(date +%s%3N) - begin))",
        ALL,
    )?;
    let scopes = host.ok("ls -d /sys/fs/cgroup/machine.slice/virshle-*.scope | wc -l", COMMAND)?;
    ensure!(scopes.trim() == many.to_string(), "{many} machines, and {scopes} scopes");
    let each = host.ok(
        "cat /sys/fs/cgroup/machine.slice/virshle-*.scope/memory.current | awk '{ sum += $1 } END { printf \"%d\", sum / NR / 1048576 }'",
        COMMAND,
    )?;
    stage.note(format!("{many} machines started in {} ms, of {each} MiB each", took.trim()));

    let ended = host.ok(
        "pkill -9 cloud-hyperviso; begin=$(date +%s%3N)
        for i in $(seq 4000); do
            ls /var/lib/virshle/vm/*/ch.sock >/dev/null 2>&1 || break
            sleep 0.2
        done
        echo $(($(date +%s%3N) - begin))",
        ALL,
    )?;
    stage.note(format!("all of them killed at once were looked after {} ms later", ended.trim()));
    let exits = host.ok(
        "for i in $(v vm ls --json | jq -r '.[].name'); do v vm why $i --json | jq -r '.[0].exit'; done | sort | uniq -c",
        ALL,
    )?;
    let words: Vec<&str> = exits.split_whitespace().collect();
    ensure!(words == [many.to_string().as_str(), "crashed"], "they ended as {exits}");
    let ports = host.ok("ovs-vsctl --timeout=10 list-ports br0 | grep -c ^vm; true", COMMAND)?;
    ensure!(ports.trim() == "0", "{ports} ports are left");
    let failed = host.ok("systemctl --failed --no-legend | grep virshle; true", COMMAND)?;
    ensure!(failed.is_empty(), "units failed: {failed}");

    start_is_under_way(host)?;
    no_orphans(host)?;
    remove_all(host)
}

/// `systemctl stop virshle` while machines start: none of them runs afterwards.
fn start_is_under_way(host: &Host) -> Result<(), Failure> {
    for pause in ["0", "0.3", "0.8", "1.5"] {
        host.ok("systemctl start virshle", COMMAND)?;
        // As ordinary commands of a login.
        host.ok(
            &format!(
                "first=$(v vm ls --json | jq -r '.[0].name')
                v vm start $first >/tmp/started 2>&1 & sleep {pause}
                systemctl stop virshle; wait"
            ),
            ALL,
        )?;
        let runs =
            host.ok("v vm ls --json | jq -r '.[] | select(.state != \"stopped\").name'", COMMAND)?;
        // A start that came after the last look is none of a service's that was stopped by hand.
        let late = host.ok("cat /tmp/started", COMMAND)?;
        ensure!(pause == "0" || runs.is_empty(), "after {pause} s {runs} runs: {late}");
        host.v("vm stop --all --force")?;
    }
    let machines = host.machines()?;
    machines.iter().try_for_each(|machine| expect_state(machine, "stopped"))
}
