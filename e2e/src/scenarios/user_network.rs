//! An ordinary user on a host with nothing set up but cloud-hypervisor and passt.

use std::path::PathBuf;

use super::{UP, expect_state};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host, quoted};
use crate::machine::Machine;
use crate::scenario::{Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    let passt = std::env::var_os("E2E_PASST")
        .map(PathBuf::from)
        .ok_or_else(|| Failure::missing("passt of 2025-02 or later (scripts/e2e unpacks it)"))?;
    stage.on_host(|host| play(host, &passt))
}

/// The user, who has the group `kvm` as anybody who runs machines, and the host's services.
const SETUP: &str = r#"
systemctl stop ovs-vswitchd ovsdb-server
ln -s /opt/passt/passt /usr/local/bin/passt
chmod 755 /opt/passt /var/lib/virshle /var/lib/virshle/cache
getent group kvm >/dev/null || groupadd --system kvm
chgrp kvm /dev/kvm && chmod 660 /dev/kvm
useradd --create-home --shell /bin/bash --groups kvm anon
cp -r /root/.ssh ~anon/
mkdir -p ~anon/.config/virshle
cat >~anon/.config/virshle/config.toml
chown -R anon: ~anon

# Names, by a server on the loopback as systemd-resolved is one; and what listens at the host's
# address, and on its loopback alone.
echo nameserver 127.0.0.1 >/etc/resolv.conf
dnsmasq --no-hosts --no-resolv --listen-address=127.0.0.1 --bind-interfaces \
    --address=/there.example/192.0.2.77 --pid-file=/run/e2e-dns.pid
setsid socat TCP-LISTEN:7001,bind=10.0.2.15,fork,reuseaddr 'SYSTEM:echo outside' >/dev/null 2>&1 &
setsid socat TCP-LISTEN:7002,bind=127.0.0.1,fork,reuseaddr 'SYSTEM:echo loopback' >/dev/null 2>&1 &
"#;

fn play(host: &Host, passt: &std::path::Path) -> Result<(), Failure> {
    host.copy(passt, "/opt/passt")?;
    let config = format!(
        "[hypervisor]\nconfine = \"best-effort\"\n[[template.vm]]\nname = \"xs\"\n{TINY}\n\
         [[template.vm.net]]\nname = \"main\"\npublish = \"8080:80\"\n"
    );
    host.ok(&format!("{{ {SETUP} }} <<'END'\n{config}END"), COMMAND)?;
    user(host, "v vm create -t xs --name web --start")?;
    let machine = machine(host)?;
    expect_state(&machine, "running")?;
    let passt = only_passt(host)?;

    // Its lease came by passt's own DHCP; then it is as any machine is.
    host.wait_for_serial(&machine, "^tiny: address 10\\.0\\.3\\.15", UP)?;
    user(host, "v vm wait web --for ssh --timeout 60s")?;
    serve(host)?;
    works(host)?;
    // Again after it has restarted itself: the same machine, the same passt.
    in_guest(host, "(sleep 1; reboot) >/dev/null 2>&1 &")?;
    let up_again = format!(
        "for second in $(seq {}); do [ \"$(grep -c '^tiny: address' {}/serial.log)\" -lt 2 ] || \
         exit 0; sleep 1; done; exit 1",
        UP.as_secs(),
        machine.dir
    );
    host.ok(&up_again, UP + COMMAND)?;
    // This guest has no disk to keep its host key on, and makes another one at each boot.
    host.ok(&format!("rm {}/known_hosts", machine.dir), COMMAND)?;
    user(host, "v vm wait web --for ssh --timeout 60s")?;
    serve(host)?;
    works(host)?;
    ensure!(self::machine(host)?.pid == machine.pid, "it has another VMM after its reboot");
    ensure!(only_passt(host)? == passt, "it has another passt after its reboot");

    // A passt that dies is found, and another one started; the guest gets a NIC that leads to it, in the same
    // place. What sets up NICs that appear is its distribution's; this one has nothing for that.
    in_guest(
        host,
        "(while sleep 1; do ip link show eth0 2>/dev/null | grep -q ,UP || { ip link set eth0 up && udhcpc -b \
         -S -t 20 -T 1 -A 2 -i eth0 -s /etc/udhcpc.script; }; done) >/dev/null 2>&1 &",
    )?;
    host.ok(&format!("kill -9 {passt}"), COMMAND)?;
    let check = user_outcome(host, "v node check")?;
    ensure!(check.contains("no passt serves the user network main"), "v node check says:\n{check}");
    let started = user(host, "v vm start web")?;
    ensure!(only_passt(host)? != passt, "no new passt: {started}");
    ensure!(self::machine(host)?.pid == machine.pid, "it has another VMM after passt's death");
    let check = user_outcome(host, "v node check")?;
    ensure!(!check.contains("user network main"), "v node check says:\n{check}");
    user(host, "v vm wait web --for ssh --timeout 60s")?;
    works(host)?;
    ensure!(self::machine(host)?.pid == machine.pid, "it was restarted");

    // A guest that is off leaves its passt to the next who looks.
    in_guest(host, "(sleep 1; poweroff) >/dev/null 2>&1 &")?;
    host.ok(
        &format!(
            "for second in $(seq 120); do [ -e /proc/{} ] || exit 0; sleep 1; done; exit 1",
            { machine.pid.unwrap_or(0) }
        ),
        COMMAND,
    )?;
    let check = user_outcome(host, "v node check --repair")?;
    ensure!(check.contains("passt, pid"), "v node check --repair says:\n{check}");
    user(host, "v vm rm web")?;
    let left = host.ok("pgrep -a passt; pgrep -af '[v]host-user'; true", COMMAND)?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    Ok(())
}

/// The guest serves at its port 80, and no longer on its vsock: the way in is the network.
fn serve(host: &Host) -> Result<(), Failure> {
    // This very session may be one by the vsock.
    in_guest(host, "httpd -p 80 -h /etc; (sleep 1; killall socat) >/dev/null 2>&1 &")?;
    host.ok("sleep 5", COMMAND).map(drop)
}

/// The guest reaches out, resolves names, is reached, and does not reach what is not its own.
fn works(host: &Host) -> Result<(), Failure> {
    let said = in_guest(host, "nc -w 20 10.0.2.15 7001 </dev/null")?;
    ensure!(said.trim() == "outside", "the guest does not reach out: {said:?}");
    let said = in_guest(host, "nslookup there.example 10.0.3.3 2>&1; true")?;
    ensure!(said.contains("192.0.2.77"), "the guest does not resolve names: {said:?}");
    let said = in_guest(host, "nc -w 5 10.0.3.2 7002 </dev/null 2>&1; true")?;
    ensure!(!said.contains("loopback"), "the guest reaches the host's loopback: {said:?}");
    for address in ["127.0.0.1", "10.0.2.15"] {
        let script = format!("curl --silent --fail --max-time 60 http://{address}:8080/group");
        let said = host.ok(&script, COMMAND)?;
        ensure!(said.contains("root:x:0:"), "port 8080 of {address} says {said:?}");
    }
    let said = in_guest(host, "echo $SSH_CONNECTION")?;
    ensure!(said.contains(" 10.0.3.15 22"), "v vm ssh came by {said:?}");
    // An address of its own for the other family, too.
    let said = in_guest(host, "ip -6 address show dev eth0 scope global")?;
    ensure!(said.contains("inet6 fd00:a00:300:"), "no IPv6 address: {said:?}");
    Ok(())
}

/// A command of the ordinary user.
fn user(host: &Host, command: &str) -> Result<String, Failure> {
    host.ok(&format!("su - anon -c {}", quoted(command)), COMMAND)
}

/// The same, of which it does not matter how it ends.
fn user_outcome(host: &Host, command: &str) -> Result<String, Failure> {
    let outcome = host.sh(&format!("su - anon -c {}", quoted(command)), COMMAND)?;
    Ok(outcome.stdout + &outcome.stderr)
}

fn in_guest(host: &Host, command: &str) -> Result<String, Failure> {
    user(host, &format!("v vm ssh -l root web -- {}", quoted(command)))
}

fn machine(host: &Host) -> Result<Machine, Failure> {
    let text = user(host, "v vm info web --json")?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("{error}: {text}")))
}

/// The one passt that runs.
fn only_passt(host: &Host) -> Result<String, Failure> {
    let pids = host.ok("pgrep -f '[v]host-user --socket' || true", COMMAND)?;
    let pids: Vec<&str> = pids.split_whitespace().collect();
    let [pid] = pids[..] else { return Err(Failure::new(format!("these passts run: {pids:?}"))) };
    Ok(pid.to_owned())
}
