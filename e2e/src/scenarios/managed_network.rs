//! The managed network: addresses that follow from names, names, the way out, published ports.

use super::{UP, install_units, no_orphans, remove_all};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(|host| play(stage, host))
}

/// Another host, behind another interface of this one: it says who asks.
const OUTSIDE: &str = "
ip netns add out
ip link add up0 type veth peer name u0 netns out
ip address add 203.0.113.1/24 dev up0
ip link set up0 up
ip -n out address add 203.0.113.2/24 dev u0
ip -n out link set u0 up
setsid ip netns exec out socat TCP-LISTEN:7001,fork,reuseaddr 'SYSTEM:echo from $SOCAT_PEERADDR' >/dev/null 2>&1 &
";

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    install_units(host)?;
    let net = "[[template.vm.net]]\nname = \"main\"\n";
    let tap = "[template.vm.net.type.tap]\n";
    host.configure(&format!(
        "[network]\ndatapath = \"system\"\nsubnet = \"192.168.177.1/24\"\n\
         [[template.vm]]\nname = \"xs\"\n{TINY}\n{net}{tap}\
         [[template.vm]]\nname = \"server\"\n{TINY}\n{net}publish = \"8080:80\"\n{tap}"
    ))?;
    host.ok(OUTSIDE, COMMAND)?;
    // Its own route comes by router advertisement, which a host that forwards no longer takes: that is said,
    // and what to do.
    let refused = host.sh("v node init --dry-run", COMMAND)?;
    ensure!(
        refused.code == 5 && refused.stderr.contains("sysctl net.ipv6.conf.eth0.accept_ra=2"),
        "the host would lose its route: {refused:?}"
    );
    host.ok("sysctl -q net.ipv6.conf.eth0.accept_ra=2", COMMAND)?;
    let would = host.v("node init --dry-run")?;
    ensure!(would.contains("masquerade"), "v node init --dry-run prints:\n{would}");
    host.v("node init")?;
    // It has a scope of its own, and outlives the command that started it.
    let scopes =
        host.ok("systemctl list-units --plain --no-legend 'virshle-dnsmasq-*.scope'", COMMAND)?;
    ensure!(scopes.contains("running"), "dnsmasq is in no scope: {scopes}");

    host.v("vm create -t server --name web --start")?;
    host.v("vm create -t xs --name db --start")?;
    let (web, db) = (host.machine("web")?, host.machine("db")?);
    let address = served_address(host, &web)?;
    served_address(host, &db)?;
    let heard = host.in_guest_ok(&db, "nslookup web.vm 192.168.177.1 2>&1; true")?;
    ensure!(heard.contains(&address), "db resolves web.vm as:\n{heard}");
    host.in_guest_ok(&db, &format!("ping -c 2 -W 5 {address}"))?;
    let heard = host.in_guest_ok(&db, "nc -w 20 203.0.113.2 7001 </dev/null")?;
    ensure!(heard.trim() == "from 203.0.113.1", "db reaches out as {heard:?}");

    serve(host, &web)?;
    for (from, url) in
        [("", "127.0.0.1"), ("", "203.0.113.1"), ("ip netns exec out ", "203.0.113.1")]
    {
        let script = format!("{from}curl --silent --fail --max-time 60 http://{url}:8080/group");
        let heard = host.ok(&script, COMMAND)?;
        ensure!(heard.contains("root:x:0:"), "{script} prints {heard:?}");
    }
    let heard = host.in_guest_ok(&db, "wget -q -O - http://192.168.177.1:8080/group")?;
    ensure!(heard.contains("root:x:0:"), "another guest gets {heard:?}");
    let script = format!("ip netns exec out curl --silent --max-time 5 http://{address}/group");
    let direct = host.sh(&script, COMMAND)?;
    ensure!(direct.code != 0, "a machine is reached from outside past its ports: {direct:?}");

    // Another machine of that name.
    let mac = web.mac()?.to_owned();
    host.v("vm rm --force web")?;
    host.v("vm create -t server --name web --start")?;
    let again = host.machine("web")?;
    ensure!(again.mac()? != mac, "it has the same MAC address");
    let new = served_address(host, &again)?;
    ensure!(new == address, "web had {address}, and has {new}");
    host.wait_for_serial(&again, &format!("^tiny: address {address}\\b"), UP)?;

    // What is lost is found, and set up again.
    let died = "old=$(cat /var/lib/virshle/network/dnsmasq.pid); begin=$(date +%s%3N); kill -9 $old
        until new=$(cat /var/lib/virshle/network/dnsmasq.pid 2>/dev/null); [ \"$new\" != $old ] && \
            [ -d /proc/${new:-none} ]; do
            [ $(($(date +%s%3N) - begin)) -lt 60000 ] || exit 1
            sleep 0.1
        done
        echo $(($(date +%s%3N) - begin))";
    let took = host.ok(died, COMMAND)?;
    stage.note(format!("a dnsmasq that was killed was there again after {} ms", took.trim()));
    host.ok("nft flush ruleset", COMMAND)?;
    let check = host.sh("v node check", COMMAND)?;
    ensure!(check.stdout.contains("missing: table inet virshle"), "v node check: {check:?}");
    host.sh("v node check --repair", COMMAND)?;
    serve(host, &again)?;
    host.ok("curl --silent --fail --max-time 60 http://127.0.0.1:8080/group", COMMAND)?;

    let refused = host.sh("v node reset", COMMAND)?;
    ensure!(refused.code == 6, "v node reset while machines run: {refused:?}");
    no_orphans(host)?;
    remove_all(host)?;
    host.v("node reset")?;
    let left =
        host.ok("nft list tables; pgrep -a dnsmasq; ip -4 -o address show dev br0; true", COMMAND)?;
    ensure!(left.trim().is_empty(), "left behind by v node reset:\n{left}");
    Ok(())
}

/// The guest serves at its port 80.
fn serve(host: &Host, machine: &Machine) -> Result<(), Failure> {
    host.in_guest_ok(machine, "httpd -p 80 -h /etc").map(drop)
}

/// Waits until a guest has an address, and returns the one that the node's own dnsmasq has given it.
fn served_address(host: &Host, machine: &Machine) -> Result<String, Failure> {
    host.wait_for_serial(machine, "^tiny: address", UP)?;
    let script = format!(
        "awk '$2 == \"{}\" {{ print $3 }}' /var/lib/virshle/network/leases",
        machine.mac()?
    );
    let address = host.ok(&script, COMMAND)?.trim().to_owned();
    ensure!(!address.is_empty(), "{} has no lease", machine.name);
    Ok(address)
}
