//! Many machines end at once; all machines are shut down while another one starts.

use std::env;
use std::time::Duration;

use super::{expect_state, install_units, make_lan, no_orphans, remove_all};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{SYSTEM_BRIDGE, Stage};

/// How many, unless `E2E_MACHINES` says it.
const MANY: u32 = 30;

/// How many of them have a port: the emulated switch takes its time for each.
const WITH_PORT: u32 = 5;
/// A guest that takes nothing.
const HALT: &str = "vcpu = 1\nvram = \"16MiB\"\nkernel = \"/opt/e2e/halt.elf\"\n";

/// All of them, started or ended. Emulated, each takes a second or two of the one processor.
const ALL: Duration = Duration::from_secs(900);

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    let many = env::var("E2E_MACHINES").ok().and_then(|text| text.parse().ok()).unwrap_or(MANY);
    host.configure(&format!(
        "{SYSTEM_BRIDGE}\n[[template.vm]]\nname = \"none\"\n{HALT}\
         [[template.vm]]\nname = \"tap\"\n{HALT}\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n"
    ))?;
    install_units(host)?;
    make_lan(host)?;
    host.ok("systemctl start virshle", COMMAND)?;
    let with_port = many.min(WITH_PORT);
    host.v(&format!("vm create -t tap -n {with_port}"))?;
    if many > with_port {
        host.v(&format!("vm create -t none -n {}", many - with_port))?;
    }
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

/// `systemctl stop virshle` while a machine starts: it does not run afterwards.
fn start_is_under_way(host: &Host) -> Result<(), Failure> {
    // Once its start is recorded, and once its VMM is there.
    for begun in ["grep -q '\"starting\"' $dir/run.json", "[ -e $dir/ch.sock ]"] {
        host.ok("systemctl start virshle", COMMAND)?;
        // As an ordinary command of a login.
        let runs = host.ok(
            &format!(
                "name=$(v vm ls --json | jq -r '.[0].name')
                dir=$(v vm info $name --json | jq -r .dir)
                exec 9<> <(:)
                v vm start $name >/dev/null 2>&1 &
                for i in $(seq 3000); do {begun} && break; read -t 0.01 -u 9; done
                systemctl stop virshle; wait
                v vm ls --json | jq -r '.[] | select(.state != \"stopped\").name'"
            ),
            ALL,
        )?;
        ensure!(runs.trim().is_empty(), "{runs} runs, and `{begun}` was so before the stop");
    }
    let machines = host.machines()?;
    machines.iter().try_for_each(|machine| expect_state(machine, "stopped"))
}
