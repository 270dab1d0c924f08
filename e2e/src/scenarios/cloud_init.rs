//! A Debian like the ones that are downloaded, with its own cloud-init, the way the guide goes: its
//! image imported, a machine made with user data and entered as soon as it is up. Its user, key, host
//! name, and root filesystem, grown to the size of the template.

use std::time::Duration;

use super::{make_lan, remove_all};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{SYSTEM_BRIDGE, Stage};

/// How long the guest may take. Emulated twice, alone on an idle machine: 200 s.
const UP: Duration = Duration::from_secs(1200);
/// How long 700 MiB of qcow2 may take to become raw there.
const IMPORT: Duration = Duration::from_secs(600);

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

fn play(host: &Host) -> Result<(), Failure> {
    host.configure(&format!(
        r#"{SYSTEM_BRIDGE}
[[template.vm]]
name = "debian"
vcpu = 1
vram = "768MiB"
kernel = "/var/lib/virshle/cache/vmlinuz"
initramfs = "/var/lib/virshle/cache/guest.img"
cmdline = "console=ttyS0 quiet mitigations=off net.ifnames=0"
[[template.vm.disk]]
name = "os"
image = "debian"
size = "5G"
[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]
"#
    ))?;
    host.ok("v image import /var/lib/virshle/downloads/guest.qcow2 --name debian", IMPORT)?;
    let image = host.v("image info debian --json")?;
    ensure!(image.contains("\"raw\""), "the imported image is {image}");
    host.ok(
        r#"cd && cat >me.toml <<END
commands = ["echo e2e: cloud-init ran >/dev/ttyS0"]

[[user]]
name = "ada"
[user.ssh]
authorized_keys = ["$(cat .ssh/id_ed25519.pub)"]
END"#,
        COMMAND,
    )?;
    make_lan(host)?;
    // The first session waits for all of the first boot. The key of its server is known before.
    let first = host.ok(
        "cd && v vm create -t debian --name debby --user-data me.toml --start >&2 \
         && cp /var/lib/virshle/vm/*/known_hosts /tmp/pinned \
         && v vm ssh --timeout 1200 debby -- 'id -un; hostname'",
        UP,
    )?;
    ensure!(first == "ada\ndebby\n", "v vm ssh reaches {first:?}");
    let machine = host.machine("debby")?;
    let pinned = host.ok("cat /tmp/pinned", COMMAND)?;
    host.wait_for_serial(&machine, "e2e: cloud-init ran", UP)?;
    let address = host.address(&machine)?;
    let inside = |command: &str| {
        host.ok(&format!("ssh ada@{address} {}", crate::host::quoted(command)), COMMAND)
    };
    ensure!(inside("id -un")?.trim() == "ada", "another user");
    let key = inside("sudo cat /etc/ssh/ssh_host_ed25519_key.pub")?;
    ensure!(pinned.contains(key.trim()) && !key.trim().is_empty(), "{key} is not in {pinned}");
    let keys = inside("ls /etc/ssh/ssh_host_*_key.pub | wc -l")?;
    ensure!(keys.trim() == "1", "the guest has {} host keys", keys.trim());
    ensure!(inside("sudo id -un")?.trim() == "root", "sudo gives no root");
    let name = inside("hostname")?;
    ensure!(name.trim() == "debby", "its host name is {name:?}");
    let status = inside("cloud-init status --wait || true")?;
    if !status.contains("status: done") {
        let log =
            inside("sudo grep -E 'WARN|ERROR|Traceback|Error' /var/log/cloud-init.log | tail -30")?;
        return Err(Failure::new(format!("cloud-init says {status:?}\n{log}")));
    }
    let size = inside("df --output=size -B1M / | tail -n 1")?;
    let grown = size.trim().parse::<u64>().is_ok_and(|mebibytes| mebibytes > 4500);
    ensure!(grown, "the root filesystem has {} MiB of 5 GiB", size.trim());
    host.v("vm stop --timeout 120s debby")?;
    let last = host.machine("debby")?.last_exit;
    ensure!(last.as_deref() == Some("stopped"), "last_exit is {last:?}");
    remove_all(host)
}
