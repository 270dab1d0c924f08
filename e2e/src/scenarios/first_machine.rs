//! The usage section that the project began with, to the letter: three machines of a template,
//! listed, one started, and a person inside it by ssh.

use super::{make_lan, port_works, remove_all, wait_for_address};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{SYSTEM_BRIDGE, Stage};

/// The template of the usage section. Its image had a boot loader; the guest of this lab is booted
/// by its kernel, which are the three lines in the middle.
const TEMPLATE: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = 2

kernel = "/var/lib/virshle/cache/vmlinuz"
initramfs = "/var/lib/virshle/cache/tiny.img"
cmdline = "console=ttyS0 quiet"

[[template.vm.disk]]
name = "os"
path = "~/Iso/nixos.efi.img"
size = "50G"

[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]
"#;

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

fn play(host: &Host) -> Result<(), Failure> {
    host.configure(&format!("{SYSTEM_BRIDGE}{TEMPLATE}"))?;
    // On the filesystem of the machines, as a reflink needs it, behind the path that people have.
    host.ok(
        "cd && mkdir -p /var/lib/virshle/cache Iso && ln -s /var/lib/virshle/cache/boots.raw \
         Iso/nixos.efi.img && sha256sum /var/lib/virshle/cache/boots.raw >sum && \
         stat -c %Y /var/lib/virshle/cache/boots.raw >time",
        COMMAND,
    )?;
    make_lan(host)?;

    // As it was written, but for the prompt.
    for usage in 1..=3 {
        let printed = host.v("vm create -t xs")?;
        ensure!(table(&printed) == [columns("stopped", usage)], "v vm create prints:\n{printed}");
    }
    let printed = host.v("vm ls")?;
    ensure!(
        table(&printed) == [1, 2, 3].map(|id| columns("stopped", id)),
        "v vm ls prints:\n{printed}"
    );
    host.v("vm start --id 1")?;
    let printed = host.v("vm ls")?;
    let states = [("running", 1), ("stopped", 2), ("stopped", 3)];
    ensure!(
        table(&printed) == states.map(|(state, id)| columns(state, id)),
        "v vm ls prints:\n{printed}"
    );
    ensure!(
        printed.starts_with("e2e-host on e2e-host\n"),
        "v vm ls names another node:\n{printed}"
    );

    let machine = host.machine("1")?;
    ensure!(machine.pid.is_some(), "a running machine without a pid");
    let clones: Vec<_> = machine.disks.iter().filter_map(|disk| disk.clone.as_deref()).collect();
    ensure!(clones == ["reflink", "seed"], "the disk is no reflink on XFS: {clones:?}");
    port_works(host, &machine)?;
    let address = wait_for_address(host, &machine)?;
    let uname = "uname -sn";
    let plain = host.in_guest_at(&address, uname)?;
    // The name that `v` gave the machine, as its seed disk says.
    let wanted = format!("Linux {}\n", machine.name.replace('_', "-"));
    ensure!(plain == wanted, "uname in the guest says {plain:?}, not {wanted:?}");
    host.v(&format!("vm wait {} --for ssh --timeout 60s", machine.name))?;
    let by_v = host.v(&format!("vm ssh {} -- {uname}", machine.name))?;
    ensure!(by_v == plain, "v vm ssh gives {by_v:?}, ssh gives {plain:?}");
    // With no listener on its vsock the way is the network, to the address that DHCP gave.
    host.in_guest_at(&address, "killall socat")?;
    let by_network = host.v(&format!("vm ssh {} -- 'echo $SSH_CONNECTION'", machine.name))?;
    ensure!(by_network.contains(&format!(" {address} 22")), "v vm ssh came by {by_network:?}");
    let boots = host.ok(&format!("head -c 16 {}", machine.disks[0].path), COMMAND)?;
    ensure!(boots.trim() == "BOOTS 1", "the guest has not written to its disk: {boots:?}");
    host.ok(
        "sha256sum --quiet -c ~/sum && test $(stat -c %Y /var/lib/virshle/cache/boots.raw) = \
         $(cat ~/time)",
        COMMAND,
    )?;

    host.v("vm stop --id 1")?;
    remove_all(host)
}

/// The rows of a table, each its cells but for the name, which is random; none if it isn't the table
/// of the usage section.
fn table(printed: &str) -> Vec<Vec<String>> {
    let mut rows = printed.lines().filter(|line| line.starts_with('│')).map(|line| {
        let cells = line.split('│').map(|cell| cell.trim().to_owned());
        cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    });
    if rows.next().is_none_or(|titles| titles != ["id", "name", "vcpu", "vram", "state"]) {
        return Vec::new();
    }
    let mut rows: Vec<_> = rows.collect();
    rows.iter_mut().filter(|row| row.len() > 1).for_each(|row| drop(row.remove(1)));
    rows
}

/// The row of a machine of the template, but for its name.
fn columns(state: &str, id: u64) -> Vec<String> {
    [&id.to_string(), "1", "2 GiB", state].map(str::to_owned).to_vec()
}
