//! A host that has neither cloud-hypervisor nor a firmware: set up from a directory, and a machine run in
//! one command, by a caller who has no key of their own.

use super::{UP, nothing_is_left};
use crate::failure::{Failure, ensure};
use crate::host::{COMMAND, Host};
use crate::scenario::{SYSTEM_BRIDGE, Stage, TINY};

/// The releases as files, and what they are pinned by. The firmware is none that boots: the guest of this
/// lab is booted by its kernel.
const OFFLINE: &str = r#"
set -e
program=$(readlink -f "$(command -v cloud-hypervisor)")
mkdir /root/usb
cp "$program" /root/usb/cloud-hypervisor-static
head -c 4194304 /dev/urandom >/root/usb/CLOUDHV.fd
rm "$(command -v cloud-hypervisor)"
version=$(/root/usb/cloud-hypervisor-static --version | sed -n 's/^cloud-hypervisor //p')
cd /root/usb
{
    printf '[[file]]\npart = "cloud-hypervisor"\nversion = "%s"\n' "$version"
    printf 'url = "https://releases.example/cloud-hypervisor-static"\n'
    printf 'sha256 = "%s"\n' "$(sha256sum cloud-hypervisor-static | cut -d ' ' -f 1)"
    printf '[[file]]\npart = "firmware"\nversion = "e2e"\nurl = "https://releases.example/CLOUDHV.fd"\n'
    printf 'sha256 = "%s"\n' "$(sha256sum CLOUDHV.fd | cut -d ' ' -f 1)"
} >/root/releases.toml
mkdir -p /root/newcomer
"#;

/// A caller who has neither a key nor an agent.
const NEWCOMER: &str = "cd /root/newcomer && env -u SSH_AUTH_SOCK HOME=/root/newcomer";

pub(super) fn run(stage: &Stage<'_>) -> Result<(), Failure> {
    stage.on_host(play)
}

fn play(host: &Host) -> Result<(), Failure> {
    host.configure(&format!(
        "{SYSTEM_BRIDGE}\n[[template.vm]]\nname = \"xs\"\n{TINY}\nnet = []\n"
    ))?;
    host.ok(OFFLINE, COMMAND)?;
    set_up(host)?;

    // A command and its exit code; and nothing is left of the machine.
    let line = "v run --rm --name web -t xs boots.raw -- 'echo hello from $(hostname); exit 7'";
    let ran = host.sh(&format!("{NEWCOMER} {line}"), UP)?;
    ensure!(ran.code == 7, "v run ends with {}, not 7:\n{}{}", ran.code, ran.stdout, ran.stderr);
    ensure!(ran.stdout == "hello from web\n", "v run prints {:?}", ran.stdout);
    nothing_is_left(host)?;

    // A failure leaves nothing either.
    let failed = host.sh(&format!("{NEWCOMER} v run --rm -t xs nosuchimage -- true"), UP)?;
    ensure!(failed.code == 3, "v run of no image ends with {}: {}", failed.code, failed.stderr);
    nothing_is_left(host)?;

    // Nor does one that is killed while the guest comes up.
    let kill = "v run --rm --name web -t xs boots.raw -- true & pid=$!
        for second in $(seq 60); do [ ! -S /var/lib/virshle/vm/*/ch.sock ] || break; sleep 1; done
        kill -9 $pid
        for second in $(seq 60); do v vm info web >/dev/null 2>&1 || exit 0; sleep 1; done
        exit 1";
    host.ok(&format!("{NEWCOMER} true; export HOME=/root/newcomer; {kill}"), UP)?;
    nothing_is_left(host)?;

    // Without --rm it runs on, and is entered again.
    let first = host.ok(&format!("{NEWCOMER} v run --name db -t xs boots.raw -- hostname"), UP)?;
    ensure!(first == "db\n", "v run prints {first:?}");
    let again = host.ok(&format!("{NEWCOMER} v ssh db -- hostname"), COMMAND)?;
    ensure!(again == "db\n", "v ssh prints {again:?}");
    host.v("rm --force db")?;
    // Detached, as containers are.
    let started = host.ok(&format!("{NEWCOMER} v run -d --name db -t xs boots.raw"), UP)?;
    ensure!(started.contains("running"), "v run -d prints {started}");
    host.v("rm --force db")?;
    nothing_is_left(host)
}

/// `v node setup` brings what is missing, from the directory.
fn set_up(host: &Host) -> Result<(), Failure> {
    let check = host.sh("v node check", COMMAND)?;
    ensure!(check.stdout.contains("`v node setup` downloads"), "v node check: {}", check.stdout);
    let setup = "node setup --offline /root/usb --releases /root/releases.toml";
    let done = host.v(setup)?;
    for path in ["bin/cloud-hypervisor", "firmware/CLOUDHV.fd"] {
        ensure!(done.contains(&format!("/var/lib/virshle/{path}")), "v {setup} prints {done}");
    }
    let again = host.v(setup)?;
    ensure!(again.matches("is there already").count() == 2, "v {setup} again prints {again}");
    let check = host.sh("v node check", COMMAND)?;
    let own = "/var/lib/virshle/bin/cloud-hypervisor";
    ensure!(check.stdout.contains(own), "v node check finds another: {}", check.stdout);
    Ok(())
}
