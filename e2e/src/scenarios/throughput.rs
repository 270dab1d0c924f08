//! What a guest's TCP gets over each kind of network beside the others, by one queue and by several: a table
//! of ratios. The host is emulated, has one processor and other work beside it: no figure stands alone.

use super::{install_dpdk, wait_for_address, wait_until_ready};
use crate::failure::{Failure, While};
use crate::host::{COMMAND, Host};
use crate::machine::Machine;
use crate::scenario::{Stage, TINY};

/// What is sent each way, in MiB.
const SENT: u64 = 8;

/// A kind of network, its keys, and the bridge whose address the host has then.
const KINDS: [(&str, &str, Option<&str>); 4] = [
    ("tap", "", Some("br0")),
    ("vhost", "", Some("br0")),
    ("bridge", "link = \"vmbr0\"", Some("vmbr0")),
    ("user", "host_loopback = true", None),
];

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    let passt = std::env::var_os("E2E_PASST").map(std::path::PathBuf::from);
    let table = stage.on_host(|host| play(host, passt.as_deref()))?;
    stage.note(table);
    Ok(())
}

fn play(host: &Host, passt: Option<&std::path::Path>) -> Result<String, Failure> {
    let mut text = "[network]\ndatapath = \"netdev\"\n".to_owned();
    for (kind, keys, _) in KINDS {
        for queues in [1, 2] {
            let more = match (kind, queues) {
                ("user", 2) => continue,
                ("user", _) => String::new(),
                _ => format!("queues = {queues}\n"),
            };
            text += &format!(
                "[[template.vm]]\nname = \"{kind}{queues}\"\n{}\n\
                 [[template.vm.net]]\nname = \"main\"\ntype = \"{kind}\"\n{keys}\n{more}",
                TINY.replace("vcpu = 1", "vcpu = 2")
            );
        }
    }
    if let Some(passt) = passt {
        host.copy(passt, "/opt/passt")?;
        host.ok("ln -s /opt/passt/passt /usr/local/bin/passt; chmod 755 /opt/passt", COMMAND)?;
    }
    install_dpdk(host)?;
    host.configure(&text)?;
    host.v("node init")?;
    host.ok("ip link add vmbr0 type bridge && ip link set vmbr0 up", COMMAND)?;
    // One that sends and one that takes, at every address of the host.
    host.ok(
        "socat -u TCP-LISTEN:5001,reuseaddr,fork OPEN:/dev/null >/dev/null 2>&1 &
         socat -U TCP-LISTEN:5003,reuseaddr,fork OPEN:/dev/zero >/dev/null 2>&1 &",
        COMMAND,
    )?;
    let mut rows = Vec::new();
    for (kind, _, bridge) in KINDS {
        if kind == "user" && passt.is_none() {
            continue;
        }
        for queues in if kind == "user" { 1..=1 } else { 1..=2 } {
            let row = measure(host, &format!("{kind}{queues}"), bridge)
                .doing(|| format!("{kind} with {queues} queues"))?;
            rows.push((kind, queues, row));
        }
    }
    Ok(table(&rows))
}

/// What a guest sends and receives in a second, in MiB.
fn measure(host: &Host, template: &str, bridge: Option<&str>) -> Result<[f64; 2], Failure> {
    if let Some(bridge) = bridge {
        host.ok(&format!("ip address flush to 10.77.0.0/24; e2e-lan {bridge}"), COMMAND)?;
    }
    host.v(&format!("vm create -t {template} --name subject --start"))?;
    let machine = host.machine("subject")?;
    wait_until_ready(host, &machine)?;
    let to = match bridge {
        Some(_) => {
            wait_for_address(host, &machine)?;
            "10.77.0.1"
        }
        None => {
            host.wait_for_serial(&machine, "^tiny: address", super::UP)?;
            "10.0.3.2"
        }
    };
    let count = SENT << 20;
    let sent =
        seconds(host, &machine, &format!("head -c {count} /dev/zero | socat -u - TCP:{to}:5001"))?;
    let received =
        seconds(host, &machine, &format!("socat -u TCP:{to}:5003 - | head -c {count} >/dev/null"))?;
    host.v("vm rm --force subject")?;
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    Ok([sent, received].map(|seconds| SENT as f64 / seconds))
}

/// How long a command takes in the guest, by its own clock.
fn seconds(host: &Host, machine: &Machine, command: &str) -> Result<f64, Failure> {
    let timed = format!("read a b </proc/uptime; {command}; read c d </proc/uptime; echo $a $c");
    let said = host.in_guest_ok(machine, &timed)?;
    let times: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match times[..] {
        [before, after] if after > before => Ok(after - before),
        _ => Err(Failure::new(format!("nothing was measured: {said}"))),
    }
}

/// The rates beside that of the tap with one queue.
fn table(rows: &[(&str, u16, [f64; 2])]) -> String {
    let floor = rows.first().map_or([1.0, 1.0], |(.., rates)| *rates);
    let mut text = "network  queues   sends  receives   (x the tap with one queue)".to_owned();
    for (kind, queues, rates) in rows {
        let [sent, received] = [rates[0] / floor[0], rates[1] / floor[1]];
        text += &format!(
            "\n{kind:8} {queues:6} {sent:7.2} {received:9.2}   {:.1} and {:.1} MiB/s",
            rates[0], rates[1]
        );
    }
    text
}
