//! A Debian like the ones that are downloaded, with its own cloud-init: user, key, host name, and a
//! root filesystem grown to the size of the template.

use std::time::Duration;

use super::{make_lan, remove_all};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{SYSTEM_BRIDGE, Stage};

/// How long the guest may take. Emulated twice, alone on an idle machine: 200 s.
const UP: Duration = Duration::from_secs(1200);

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
path = "/var/lib/virshle/cache/guest.raw"
size = "5G"
[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]
"#
    ))?;
    host.ok(
        r#"set -e
        cd
        cat >user-data <<END
#cloud-config
users:
  - name: ada
    shell: /bin/bash
    sudo: "ALL=(ALL) NOPASSWD:ALL"
    ssh_authorized_keys:
      - $(cat .ssh/id_ed25519.pub)
runcmd:
  - [sh, -c, "echo e2e: cloud-init ran >/dev/ttyS0"]
END"#,
        COMMAND,
    )?;
    make_lan(host)?;
    host.v("vm create -t debian --name debby --user-data ~/user-data")?;
    host.v("vm start debby")?;
    let machine = host.machine("debby")?;
    host.wait_for_serial(&machine, "e2e: cloud-init ran", UP)?;
    let address = host.address(&machine)?;
    let inside = |command: &str| {
        host.ok(&format!("ssh ada@{address} {}", crate::host::quoted(command)), COMMAND)
    };
    ensure!(inside("id -un")?.trim() == "ada", "another user");
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
    // As whom, `v` knows from the user data.
    let name = host.v("vm ssh debby -- 'id -un; hostname'")?;
    ensure!(name == "ada\ndebby\n", "v vm ssh reaches {name:?}");
    host.v("vm stop --timeout 120s debby")?;
    let last = host.machine("debby")?.last_exit;
    ensure!(last.as_deref() == Some("stopped"), "last_exit is {last:?}");
    remove_all(host)
}
