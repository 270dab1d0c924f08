//! What the cage of a VMM costs its start.

use std::path::Path;
use std::time::Duration;

use virshle_core::hypervisor::{Cage, CageAccess, Identity, Launch, Strictness, View};
use virshle_testkit::{Failure, Part, While, has};

use crate::options::Options;
use crate::parts::{VMM, needs};
use crate::report::{Budget, Report};
use crate::sample::{side_by_side, timed};

/// Between two starts.
const REST: Duration = Duration::from_millis(30);
/// A user that no host has.
const USER: u32 = 2_100_000_001;

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    if !needs(report, "cage", &VMM) {
        return Ok(());
    }
    let failed = || "a directory for the cage".to_owned();
    let directory = tempfile::tempdir().doing(failed)?;
    for name in ["disk", "kernel"] {
        std::fs::write(directory.path().join(name), "").doing(failed)?;
    }
    std::fs::create_dir(directory.path().join("net")).doing(failed)?;
    let caged = cage(directory.path());
    let samples = side_by_side(
        options.rounds(200),
        &mut [
            Box::new(|_| start(&launch(directory.path()).cage(caged.clone()))),
            Box::new(|_| start(&launch(directory.path()))),
        ],
    )?;
    let what = "a VMM that answers, in a cage; without";
    report.line(what, &samples[0], &samples[1], Budget::Plus(1.0));
    Ok(())
}

/// A cage as that of a machine with a disk.
fn cage(directory: &Path) -> Cage {
    let cage = Cage::new()
        .strictness(Strictness::BestEffort)
        .view(View::OwnIfPossible)
        .file("/dev/kvm", CageAccess::Device)
        .file(directory.join("disk"), CageAccess::ReadWrite)
        .file(directory.join("kernel"), CageAccess::Read)
        .file(directory.join("net"), CageAccess::Sockets);
    // The VMM opens the device at its start; whether another user may is the host's to say.
    let open = std::fs::metadata("/dev/kvm").is_ok_and(|device| {
        use std::os::unix::fs::PermissionsExt;
        device.permissions().mode() & 0o006 == 0o006
    });
    if open && has(Part::Root) { cage.identity(Identity::new(USER, USER)) } else { cage }
}

fn launch(directory: &Path) -> Launch {
    Launch::new(Path::new("cloud-hypervisor"), &directory.join("ch.sock"))
        .log_file(directory.join("ch.log"))
        .event_file(directory.join("events.json"))
}

/// Times the start of a VMM, until it answers, and ends it.
fn start(launch: &Launch) -> Result<Duration, Failure> {
    let failed = || "cloud-hypervisor".to_owned();
    // The kernel takes some milliseconds to clear away the network of the process before.
    std::thread::sleep(REST);
    let mut started = None;
    let took = timed(|| {
        started = Some(launch.spawn().doing(failed)?);
        Ok(())
    })?;
    if let Some(vmm) = started {
        vmm.kill().doing(failed)?;
        vmm.wait_exit(Duration::from_secs(5));
    }
    Ok(took)
}
