//! The usage section that the project began with, with what it was written for: a firmware, Debian's, and an
//! image that boots by it. Nothing in the template says where either boot loader or kernel are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{make_lan, port_works, remove_all};
use crate::failure::{Failure, While, ensure};
use crate::host::{COMMAND, Host};
use crate::image;
use crate::program;
use crate::scenario::{SYSTEM_BRIDGE, Stage};

const TEMPLATE: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = 2

[[template.vm.disk]]
name = "os"
path = "~/Iso/nixos.efi.img"
size = "50G"

[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]
"#;

/// Where Debian's package has it.
const FIRMWARE: &str = "/usr/share/cloudhv-efi-x86-64/CLOUDHV.fd";
/// How long the guest may take. Emulated twice, alone on an idle machine: 75 s.
const UP: Duration = Duration::from_secs(600);
/// How long the image takes to be made.
const BUILD: Duration = Duration::from_secs(120);

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    let packages = std::env::var_os("E2E_FIRMWARE").map(PathBuf::from);
    let packages =
        packages.ok_or_else(|| Failure::missing("Debian's cloudhv-efi-x86-64, unpacked"))?;
    let folder = std::env::temp_dir().join(format!("e2e-efi-{}", std::process::id()));
    let played = build(stage, &packages, &folder)
        .and_then(|()| stage.on_host(|host| play(stage, host, &folder)));
    drop(fs::remove_dir_all(&folder));
    played
}

/// Makes the image, and lays the firmware beside it.
fn build(stage: &Stage<'_>, packages: &Path, folder: &Path) -> Result<(), Failure> {
    drop(fs::remove_dir_all(folder));
    fs::create_dir(folder).doing(|| format!("cannot make {}", folder.display()))?;
    let images = stage.images();
    let (kernel, tiny) = (images.kernel.join("vmlinuz"), images.tiny.join("tiny.img"));
    let script = image::directory().join("efi");
    let arguments = [folder, packages, &kernel, &tiny];
    program::run_ok(&script.to_string_lossy(), arguments, BUILD).map(drop)
}

fn play(stage: &Stage<'_>, host: &Host, folder: &Path) -> Result<(), Failure> {
    host.configure(&format!("{SYSTEM_BRIDGE}{TEMPLATE}"))?;
    host.copy(folder, "/root/efi")?;
    host.ok(
        &format!(
            "set -e
            install -D -m 644 /root/efi/CLOUDHV.fd {FIRMWARE}
            mkdir -p /var/lib/virshle/cache ~/Iso
            mv /root/efi/efi.raw /var/lib/virshle/cache/
            ln -s /var/lib/virshle/cache/efi.raw ~/Iso/nixos.efi.img
            sha256sum /var/lib/virshle/cache/efi.raw >~/sum"
        ),
        COMMAND,
    )?;
    make_lan(host)?;
    let check = host.sh("v node check", COMMAND)?.stdout;
    ensure!(check.contains(FIRMWARE), "v node check names another firmware:\n{check}");

    for _ in 1..=3 {
        host.v("vm create -t xs")?;
    }
    host.v("vm start --id 1")?;
    let printed = host.v("vm ls")?;
    let count = |state| printed.matches(state).count();
    ensure!((count("running"), count("stopped")) == (1, 2), "v vm ls prints:\n{printed}");
    let machine = host.machine("1")?;
    port_works(host, &machine)?;
    host.wait_for_serial(&machine, "^tiny: address", UP)?;
    let address = host.address(&machine)?;
    let by_v = host.v(&format!("vm ssh {} -- 'uname -s; cat /proc/cmdline'", machine.name))?;
    ensure!(by_v == "Linux\nconsole=ttyS0 quiet\n", "v vm ssh gives {by_v:?}");
    let guest =
        host.in_guest_at(&address, "ls /sys/firmware/efi >/dev/null && cat /sys/block/vda/size")?;
    let size = (50_u64 << 30) / 512;
    ensure!(guest.trim() == size.to_string(), "the guest's disk has {guest:?} sectors");
    stage.note("booted by Debian's CLOUDHV.fd from an EFI system partition");
    host.v("vm stop --id 1 --timeout 120")?;
    host.ok("sha256sum --quiet -c ~/sum", COMMAND)?;
    remove_all(host)
}
