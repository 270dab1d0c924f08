//! Making machines: without a disk, with one, and how it grows with the disk.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use virshle_testkit::{LoopFilesystem, Part, has};

use crate::floor;
use crate::home::Home;
use crate::options::Options;
use crate::parts::{needs, v};
use crate::program;
use crate::report::{Budget, Report};
use crate::sample::{Sample, side_by_side};
use virshle_testkit::{Failure, While, ensure};

const GIB: u64 = 1 << 30;
/// The size of a filesystem: what is written to it takes room, and nothing else.
const ROOM: u64 = 600 * GIB;

/// Makes a filesystem of that many bytes.
type Mkfs = fn(u64) -> std::io::Result<LoopFilesystem>;

pub(crate) fn run(options: &Options, report: &Report) -> Result<(), Failure> {
    if !needs(report, "create", &[(Part::Reflink, "XFS and btrfs on loop devices, root")]) {
        return Ok(());
    }
    let kinds: [(&str, Mkfs, u64); 3] = [
        ("XFS", LoopFilesystem::xfs, ROOM),
        ("btrfs", LoopFilesystem::btrfs, ROOM),
        ("ext4", LoopFilesystem::ext4, 16 * GIB),
    ];
    for (kind, mkfs, room) in kinds {
        let filesystem = mkfs(room).doing(|| format!("cannot make {kind}"))?;
        let home = Home::make(&filesystem.path(), &v(options)?, None)?;
        image(&home, 10 * GIB)?;
        no_disk(&home, kind, options, report)?;
        if kind == "ext4" {
            copy(&home, kind, options, report)?;
        } else {
            let what = format!("v vm create, reflink, {kind}; cp --reflink=always");
            reflink(&home, &what, options.rounds(15), Budget::Plus(5.0), report)?;
        }
        overlay(&home, kind, options, report)?;
        if kind == "XFS" {
            grows(&home, options, report)?;
        }
    }
    Ok(())
}

/// An image with data in 400 scattered places, 64 KiB each.
fn image(home: &Home, length: u64) -> Result<(), Failure> {
    let path = home.directory().join("image.raw");
    let failed = || format!("cannot make {}", path.display());
    let file = File::create(&path).doing(failed)?;
    file.set_len(length).doing(failed)?;
    for place in 0..400 {
        let at = (length / 400 * place).next_multiple_of(4096);
        file.write_all_at(&[b'x'; 64 << 10], at).doing(failed)?;
    }
    file.sync_all().doing(failed)
}

/// Times the making of a machine, and removes it.
fn make(home: &Home, template: &str) -> Result<Duration, Failure> {
    let took = home.time(&["vm", "create", "-t", template, "--name", "one", "--no-user-data"])?;
    home.v(&["vm", "rm", "one"])?;
    settle(home.directory())?;
    Ok(took)
}

/// Brings to the disk what is still to be written: who syncs next would pay for it.
fn settle(directory: &Path) -> Result<(), Failure> {
    let failed = || format!("cannot sync {}", directory.display());
    rustix::fs::syncfs(File::open(directory).doing(failed)?).doing(failed)
}

/// Times `work`, which makes the file `copy`, and removes it.
fn made(
    copy: &Path,
    work: impl FnOnce() -> Result<Duration, Failure>,
) -> Result<Duration, Failure> {
    let took = work()?;
    fs::remove_file(copy).doing(|| format!("cannot remove {}", copy.display()))?;
    copy.parent().map_or(Ok(()), settle)?;
    Ok(took)
}

/// 4 ms where a process and one fsync took 2.2.
fn no_disk(home: &Home, kind: &str, options: &Options, report: &Report) -> Result<(), Failure> {
    let file = home.directory().join("synced");
    let samples = side_by_side(
        options.rounds(30),
        &mut [
            Box::new(|_| make(home, "bare")),
            Box::new(|_| floor::process()),
            Box::new(|_| made(&file, || floor::durable_file(&file))),
        ],
    )?;
    let floor = samples[1].plus(&samples[2]);
    let what = format!("v vm create, no disk, {kind}; true, one fsync");
    report.line(&what, &samples[0], &floor, Budget::Plus(1.8));
    Ok(())
}

fn reflink(
    home: &Home,
    what: &str,
    rounds: usize,
    budget: Budget,
    report: &Report,
) -> Result<Sample, Failure> {
    let (image, copy) = (home.directory().join("image.raw"), home.directory().join("copy.raw"));
    let samples = side_by_side(
        rounds,
        &mut [
            Box::new(|_| make(home, "image")),
            Box::new(|_| {
                let mut cp = Command::new("cp");
                cp.arg("--reflink=always").arg(&image).arg(&copy);
                made(&copy, || program::time(&mut cp))
            }),
        ],
    )?;
    report.line(what, &samples[0], &samples[1], budget);
    Ok(samples[0].clone())
}

fn copy(home: &Home, kind: &str, options: &Options, report: &Report) -> Result<(), Failure> {
    let (image, copy) = (home.directory().join("image.raw"), home.directory().join("copy.raw"));
    let samples = side_by_side(
        options.rounds(9),
        &mut [
            Box::new(|_| make(home, "copy")),
            Box::new(|_| made(&copy, || floor::copy_extents(&image, &copy))),
            Box::new(|_| made(&copy, || program::time(Command::new("cp").arg(&image).arg(&copy)))),
        ],
    )?;
    let what = format!("v vm create, copy, {kind}; the extents, synced");
    report.line(&what, &samples[0], &samples[1], Budget::Plus(5.0));
    report.other("cp, not synced", &samples[2], &samples[0]);
    home.v(&["vm", "create", "-t", "copy", "--name", "one", "--no-user-data"])?;
    let blocks = |path: &Path| fs::metadata(path).map(|file| file.blocks()).doing(|| "stat".into());
    let directories = home.machines()?;
    for directory in &directories {
        let (disk, image) = (blocks(&directory.join("disk/os"))?, blocks(&image)?);
        ensure!(disk <= image, "the copy takes {disk} blocks, the image {image}");
    }
    report.print("  and not a byte more on disk than the image");
    home.v(&["vm", "rm", "one"])?;
    Ok(())
}

/// 5 ms where `qemu-img` took 10 at least.
fn overlay(home: &Home, kind: &str, options: &Options, report: &Report) -> Result<(), Failure> {
    let what = format!("v vm create, overlay, {kind}; qemu-img create -b");
    if !has(Part::QemuImg) {
        report.skip(&what, "needs qemu-img");
        return Ok(());
    }
    let (image, copy) = (home.directory().join("image.raw"), home.directory().join("copy.qcow2"));
    let samples = side_by_side(
        options.rounds(15),
        &mut [
            Box::new(|_| make(home, "overlay")),
            Box::new(|_| {
                let mut qemu = Command::new("qemu-img");
                qemu.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
                    .arg(&image)
                    .arg(&copy);
                made(&copy, || program::time(&mut qemu))
            }),
        ],
    )?;
    report.line(&what, &samples[0], &samples[1], Budget::Times(0.5));
    Ok(())
}

/// The same data in images of any size.
fn grows(home: &Home, options: &Options, report: &Report) -> Result<(), Failure> {
    for size in [1, 10, 50, 500] {
        if options.quick && size > 50 {
            report.skip("v vm create, reflink, 500 GiB", "--quick");
            continue;
        }
        image(home, size * GIB)?;
        let what = format!("v vm create, reflink, {size} GiB; cp --reflink=always");
        reflink(home, &what, options.rounds(9), Budget::Plus(5.0), report)?;
    }
    Ok(())
}
