//! An ordinary user's machines, as scopes of the user's own manager: with lingering they outlive the logins.

use super::expect_state;
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host, quoted};
use crate::machine::Machine;
use crate::scenario::{Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

/// A user with a login of its own, on a host with logind.
const SETUP: &str = r"
set -e
rm -f /etc/systemd/system/systemd-logind.service
systemctl daemon-reload
systemctl start dbus systemd-logind
cp /opt/e2e/systemd/user/*.service /etc/systemd/user/
sed -i 's,/usr/bin/v,/usr/local/bin/v,' /etc/systemd/user/virshle*.service
chmod 755 /var/lib/virshle /var/lib/virshle/cache
getent group kvm >/dev/null || groupadd --system kvm
chgrp kvm /dev/kvm && chmod 660 /dev/kvm
useradd --create-home --shell /bin/bash --groups kvm alice
mkdir -p ~alice/.config/virshle
cat >~alice/.config/virshle/config.toml
chown -R alice: ~alice
";

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    let config = format!(
        "[hypervisor]\nconfine = \"best-effort\"\n[[template.vm]]\nname = \"xs\"\n{TINY}\n\
         [template.vm.limits]\ncpu_weight = 50\n"
    );
    host.ok(&format!("{{ {SETUP} }} <<'END'\n{config}END"), COMMAND)?;

    // Without lingering: it is said, and it is so. The guest is shut down, not cut off.
    let check =
        login(host, "systemctl --user --quiet enable --now virshle.service; v node check; true")?;
    ensure!(check.contains("enable-linger alice"), "v node check without lingering:\n{check}");
    login(
        host,
        "v vm create -t xs --name web --start && /usr/local/sbin/e2e-await ~/.local/share/virshle/vm/*/serial.log '^tiny: READY' 300",
    )?;
    let web = gone(host)?;
    ensure!(web.last_exit.as_deref() == Some("host"), "after the last logout: {web:?}");
    let serial = host.ok(&format!("cat {}/serial.log", web.dir), COMMAND)?;
    ensure!(serial.contains("tiny: power button"), "the logout was a power cut:\n{serial}");

    host.ok("loginctl enable-linger alice", COMMAND)?;
    let check = login(host, "v node check; true")?;
    ensure!(!check.contains("linger"), "v node check with lingering:\n{check}");
    ensure!(check.contains("supervises the machines"), "v node check with lingering:\n{check}");
    login(host, "v vm set web restart=on-failure && v vm start web")?;
    let machine = info(host)?;
    let pid = machine.pid.unwrap_or_default();
    // Longer than a manager outlives its last session.
    host.ok("sleep 15", COMMAND)?;
    let cgroup = host.ok(&format!("cat /proc/{pid}/cgroup"), COMMAND)?;
    let place = "/user@1000.service/machine.slice/virshle-web.scope";
    ensure!(cgroup.trim().ends_with(place), "the machine of a user is in {cgroup}");
    let cgroup = cgroup.trim().trim_start_matches("0::");
    let weight = host.ok(
        &format!("cat /sys/fs/cgroup{cgroup}/cpu.weight /sys/fs/cgroup{cgroup}/memory.max"),
        COMMAND,
    )?;
    stage.note(format!(
        "cpu.weight and memory.max of a user's machine: {}",
        weight.trim().replace('\n', ", ")
    ));
    ensure!(weight.starts_with("50\n") && !weight.contains("max"), "its limits are {weight}");
    expect_state(&info(host)?, "running")?;

    // Its end is an event of the user's manager.
    host.ok(&format!("kill -9 {pid}"), COMMAND)?;
    host.ok(
        &format!(
            "for i in $(seq 300); do
                now=$(pgrep -u alice cloud-hyperviso) && [ \"$now\" != {pid} ] && exit 0
                sleep 0.2
            done; exit 1"
        ),
        COMMAND,
    )?;
    let why = login(host, "v vm why web --json")?;
    ensure!(why.contains("\"exit\": \"crashed\""), "v vm why: {why}");
    login(host, "v vm stop --force web && v vm rm web").map(drop)
}

/// Runs a script in a login of the user, as a session of logind, which ends with it.
fn login(host: &Host, script: &str) -> Result<String, Failure> {
    host.ok(
        &format!(
            "systemd-run --quiet --collect --wait --pipe -p PAMName=login -p User=alice \
             -p WorkingDirectory=/home/alice -- bash -lc {}",
            quoted(script)
        ),
        COMMAND + super::UP,
    )
}

/// The machine as `v` sees it for the user, without a login.
fn info(host: &Host) -> Result<Machine, Failure> {
    let text = host.ok("runuser -u alice -- env HOME=/home/alice v vm info web --json", COMMAND)?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("{error}: {text}")))
}

/// The machine, once the user's manager has ended after the last logout.
fn gone(host: &Host) -> Result<Machine, Failure> {
    host.ok(
        "for i in $(seq 600); do pgrep -u alice >/dev/null || exit 0; sleep 0.2; done; ps -fu alice; exit 1",
        COMMAND,
    )?;
    let machine = info(host)?;
    expect_state(&machine, "stopped")?;
    Ok(machine)
}
