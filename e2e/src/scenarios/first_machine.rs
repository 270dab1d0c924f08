//! The usage section that the project began with, word for word: three machines of a template,
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
    stage.on_host(|host| play(stage, host))
}

fn play(stage: &Stage<'_>, host: &Host) -> Result<(), Failure> {
    host.configure(&format!("{SYSTEM_BRIDGE}{TEMPLATE}"))?;
    // On the filesystem of the machines, as a reflink needs it, behind the path that people have.
    host.ok(
        "cd && mkdir -p /var/lib/virshle/cache Iso && ln -s /var/lib/virshle/cache/boots.raw \
         Iso/nixos.efi.img && sha256sum /var/lib/virshle/cache/boots.raw >sum && \
         stat -c %Y /var/lib/virshle/cache/boots.raw >time",
        COMMAND,
    )?;
    make_lan(host)?;

    for _ in 0..3 {
        host.v("vm create -t xs")?;
    }
    let table = host.v("vm ls")?;
    ensure!(shows(&table, "stopped", 3), "v vm ls shows no three stopped machines:\n{table}");
    host.v("vm start --id 1")?;
    let table = host.v("vm ls")?;
    ensure!(shows(&table, "running", 1), "v vm ls shows no running machine:\n{table}");

    let machine = host.machine("1")?;
    ensure!(machine.pid.is_some(), "a running machine without a pid");
    let clones: Vec<_> = machine.disks.iter().filter_map(|disk| disk.clone.as_deref()).collect();
    ensure!(clones == ["reflink"], "the disk is no reflink on XFS: {clones:?}");
    port_works(host, &machine)?;
    let address = wait_for_address(host, &machine)?;
    let uname = "uname -sn";
    let plain = host.in_guest_at(&address, uname)?;
    ensure!(plain.starts_with("Linux "), "uname in the guest says {plain:?}");
    if host.v_has("vm ssh")? {
        let by_v = host.v(&format!("vm ssh {} -- {uname}", machine.name))?;
        ensure!(by_v == plain, "v vm ssh gives {by_v:?}, ssh gives {plain:?}");
    } else {
        stage.note("v has no `vm ssh` yet: entered by ssh to the address from DHCP alone");
    }
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

/// Whether `count` lines of a table have the word.
fn shows(table: &str, word: &str, count: usize) -> bool {
    table.lines().filter(|line| line.contains(word)).count() == count
}
