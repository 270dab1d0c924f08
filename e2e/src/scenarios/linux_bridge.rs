//! Machines on a bridge of the host's kernel, without Open vSwitch: VLANs kept apart, tagged and forged
//! frames reach nobody they should not, rates hold, and a bridge that was deleted is put right.

use super::{nothing_is_left, remove_all, wait_for_address, wait_until_ready};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{Stage, TINY};

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

/// What a guest may send in a second, in bytes, and what is sent to see it.
const RATE: u64 = 1_000_000;
const SENT: u64 = 4_000_000;

fn play(host: &Host) -> Result<(), Failure> {
    let net = "[[template.vm.net]]\nname = \"main\"\nlink = \"vmbr0\"";
    let bridge = "[template.vm.net.type.bridge]";
    host.configure(&format!(
        "[[template.vm]]\nname = \"here\"\n{TINY}\n{net}\n{bridge}\n\
         [[template.vm]]\nname = \"twelve\"\n{TINY}\n{net}\nvlan = 12\nrate_out = \"8Mbit/s\"\n{bridge}\n\
         [[template.vm]]\nname = \"trunk\"\n{TINY}\n{net}\ntrunk = [12, 13]\n{bridge}\n"
    ))?;
    // Nothing else is needed on this host, and nothing else may be.
    host.ok("systemctl stop ovs-vswitchd ovsdb-server", COMMAND)?;

    refused_without_vlan_filtering(host)?;
    make_bridge(host)?;
    host.v("vm create -t here --name a")?;
    host.v("vm create -t here --name b")?;
    host.v("vm create -t twelve --name x")?;
    host.v("vm create -t twelve --name y")?;
    host.v("vm create -t trunk --name t")?;
    host.v("vm start --all")?;
    let [a, b, x, y, t] = ["a", "b", "x", "y", "t"].map(|name| host.machine(name));
    let (a, b, x, y, t) = (a?, b?, x?, y?, t?);
    let addresses = [wait_for_address(host, &a)?, wait_for_address(host, &b)?];
    for (machine, address) in [(&x, "10.77.0.201"), (&y, "10.77.0.202")] {
        wait_until_ready(host, machine)?;
        host.in_guest_ok(machine, &format!("ip address add {address}/24 dev eth0"))?;
    }
    wait_until_ready(host, &t)?;

    for address in [&addresses[1], "10.77.0.1"] {
        ensure!(reaches(host, &a, address)?, "a can't reach {address}");
    }
    ensure!(reaches(host, &x, "10.77.0.202")?, "VLAN 12 is no network of its own");
    for address in [&addresses[0], "10.77.0.1"] {
        ensure!(!reaches(host, &x, address)?, "{address} answers to a machine of VLAN 12");
    }
    ensure!(!reaches(host, &a, "10.77.0.201")?, "a reaches VLAN 12");

    frames(host, [&a, &b, &x, &y, &t])?;
    rate(host, &x)?;
    bridge_is_made_again(host, &a, &addresses[1])?;
    ensure!(reaches(host, &x, "10.77.0.202")?, "VLAN 12 is not there again");
    ensure!(!reaches(host, &x, "10.77.0.1")?, "VLAN 12 is none any more");
    remove_all_without_switch(host)
}

fn make_bridge(host: &Host) -> Result<(), Failure> {
    host.ok(
        "set -e
        ip link add vmbr0 type bridge vlan_filtering 1
        e2e-lan vmbr0",
        COMMAND,
    )
    .map(drop)
}

/// A bridge that takes no notice of VLANs is refused, and nothing is changed.
fn refused_without_vlan_filtering(host: &Host) -> Result<(), Failure> {
    host.ok("ip link add vmbr0 type bridge && ip link set vmbr0 up", COMMAND)?;
    host.v("vm create -t twelve --name early")?;
    let refused = host.sh("v vm start early", COMMAND)?;
    ensure!(
        refused.code == 5 && refused.stderr.contains("does not filter VLANs"),
        "a bridge without VLANs was not refused: {refused:?}"
    );
    let ports = host.ok("ls /sys/class/net/vmbr0/brif", COMMAND)?;
    ensure!(ports.trim().is_empty(), "the refused start left {ports}");
    host.v("vm rm early")?;
    host.ok("ip link del vmbr0", COMMAND).map(drop)
}

/// Each frame has a word in it, by which whoever hears it is known.
fn frames(host: &Host, machines: [&Machine; 5]) -> Result<(), Failure> {
    let [a, b, x, y, t] = machines;
    for machine in machines {
        let listen =
            "socat -u INTERFACE:eth0 OPEN:/tmp/heard,creat,append </dev/null >/dev/null 2>&1 &";
        host.in_guest_ok(machine, listen)?;
    }
    // What is heard is heard of a socket that is there: the first frames are only for that.
    for (from, to) in [(a, b), (x, y)] {
        let known = (0..20).map(|_| say(host, from, from.mac()?, "", "KNOWN"));
        for said in known {
            said?;
            if hears(host, to, "KNOWN")? {
                break;
            }
        }
        ensure!(hears(host, to, "KNOWN")?, "{} does not hear {}", to.name, from.name);
    }
    let foreign = "52:54:00:de:ad:01";
    say(host, a, a.mac()?, r"\x81\x00\x00\x0c", "TAGGED-A")?;
    say(host, a, a.mac()?, r"\x81\x00\x00\x01\x81\x00\x00\x0c", "TWICE-A")?;
    say(host, a, a.mac()?, r"\x88\xa8\x00\x0c", "SERVICE-A")?;
    say(host, a, foreign, "", "FORGED-A")?;
    say(host, x, x.mac()?, r"\x81\x00\x00\x0d", "TAGGED-X")?;
    say(host, x, foreign, "", "FORGED-X")?;
    say(host, t, t.mac()?, r"\x81\x00\x00\x0c", "TRUNK-12")?;
    say(host, t, t.mac()?, r"\x81\x00\x00\x0e", "TRUNK-14")?;
    say(host, t, t.mac()?, "", "TRUNK-NONE")?;
    say(host, t, foreign, r"\x81\x00\x00\x0c", "FORGED-T")?;
    say(host, a, a.mac()?, "", "GENUINE-A")?;
    say(host, x, x.mac()?, "", "GENUINE-X")?;
    let expected: [(&Machine, &[&str]); 5] = [
        (a, &["GENUINE-A"]),
        (b, &["GENUINE-A"]),
        (x, &["TRUNK-12", "GENUINE-X"]),
        (y, &["TRUNK-12", "GENUINE-X"]),
        (t, &["TRUNK-12", "GENUINE-X"]),
    ];
    let words = [
        "TAGGED-A",
        "TWICE-A",
        "SERVICE-A",
        "FORGED-A",
        "TAGGED-X",
        "FORGED-X",
        "TRUNK-12",
        "TRUNK-14",
        "TRUNK-NONE",
        "FORGED-T",
        "GENUINE-A",
        "GENUINE-X",
    ];
    for (machine, heard) in expected {
        // A socket hears what its own machine says.
        let own = |word: &str| {
            word.ends_with(&machine.name.to_uppercase())
                || (machine.name == "t" && word.starts_with("TRUNK"))
        };
        for word in words.into_iter().filter(|word| !own(word)) {
            let wanted = heard.contains(&word);
            let is = hears(host, machine, word)?;
            ensure!(is == wanted, "{} hears {word}: {is}, and not {wanted}", machine.name);
        }
    }
    // What was dropped is counted.
    let port = a.port()?;
    let drops = host.ok(&format!("tc -s qdisc show dev {port} clsact"), COMMAND)?;
    ensure!(
        drops.contains("dropped") && !drops.contains("(dropped 0,"),
        "nothing was dropped: {drops}"
    );
    Ok(())
}

/// Sends a frame to all, from `mac`, with these tags and a word.
fn say(host: &Host, from: &Machine, mac: &str, tags: &str, word: &str) -> Result<(), Failure> {
    let mac: String = mac.split(':').map(|byte| format!(r"\x{byte}")).collect();
    // A type of no protocol's.
    let frame = format!(r"\xff\xff\xff\xff\xff\xff{mac}{tags}\x88\xb5{word}: {}", "x".repeat(60));
    host.in_guest_ok(from, &format!("printf '{frame}' | socat -u - INTERFACE:eth0")).map(drop)
}

fn hears(host: &Host, machine: &Machine, word: &str) -> Result<bool, Failure> {
    Ok(host.in_guest(machine, &format!("grep -q {word} /tmp/heard"))?.code == 0)
}

/// A guest sends no faster than it may, and not much slower.
fn rate(host: &Host, x: &Machine) -> Result<(), Failure> {
    host.ok(
        "set -e
        ip link add link vmbr0 name vmbr0.12 type vlan id 12
        bridge vlan add vid 12 dev vmbr0 self
        ip address add 10.77.0.203/24 dev vmbr0.12 noprefixroute
        ip route add 10.77.0.201 dev vmbr0.12
        ip link set vmbr0.12 up
        socat -u TCP-LISTEN:5001,bind=10.77.0.203,reuseaddr,fork OPEN:/dev/null >/dev/null 2>&1 &",
        COMMAND,
    )?;
    let send = format!(
        "head -c {SENT} /dev/zero >/tmp/zeros && time -p socat -u OPEN:/tmp/zeros TCP:10.77.0.203:5001"
    );
    let said = host.in_guest(x, &send)?;
    let text = said.stdout + &said.stderr;
    let seconds = text.lines().find_map(|line| line.strip_prefix("real")).map(str::trim);
    let seconds: f64 = seconds
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::new(format!("nothing was measured: {text}")))?;
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    let rate = SENT as f64 / seconds / RATE as f64;
    ensure!(rate < 1.3, "a guest sends {rate:.2} times what it may");
    ensure!(rate > 0.2, "a guest sends but {rate:.2} of what it may");
    Ok(())
}

/// A bridge that is deleted, and made again, has its machines again, which run on.
fn bridge_is_made_again(host: &Host, a: &Machine, neighbour: &str) -> Result<(), Failure> {
    host.ok("ip link del vmbr0.12; ip link del vmbr0", COMMAND)?;
    let check = host.sh("v node check", COMMAND)?;
    ensure!(check.stdout.contains("there is no bridge vmbr0"), "not found: {check:?}");
    make_bridge(host)?;
    host.v("node check --repair || true")?;
    ensure!(reaches(host, a, neighbour)?, "a does not reach its neighbour again");
    ensure!(host.machine("a")?.pid == a.pid, "it was started anew");
    Ok(())
}

/// Whether the guest gets an answer from the address.
fn reaches(host: &Host, machine: &Machine, address: &str) -> Result<bool, Failure> {
    let outcome = host.in_guest(machine, &format!("ping -c 2 -W 2 -A {address}"))?;
    ensure!(outcome.code == 0 || outcome.code == 1, "ping ended with {}", outcome.code);
    Ok(outcome.code == 0)
}

fn remove_all_without_switch(host: &Host) -> Result<(), Failure> {
    host.v("vm rm --all --force")?;
    let ports = host.ok("ls /sys/class/net/vmbr0/brif", COMMAND)?;
    ensure!(ports.trim().is_empty(), "left on the bridge: {ports}");
    host.ok("systemctl start ovsdb-server ovs-vswitchd", COMMAND)?;
    remove_all(host)?;
    nothing_is_left(host)
}
