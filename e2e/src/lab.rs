//! The lab: everything that is built once, and nested hosts started from it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use virshle_testkit::TestKernel;

use crate::acceleration::Acceleration;
use crate::cache::{Cache, Key};
use crate::failure::{Failure, While};
use crate::host::Host;
use crate::image::Images;
use crate::program::{self, run_ok};
use crate::qemu::{Board, Memory};
use crate::report::Report;

/// One command of the lab on this machine.
const SHORT: Duration = Duration::from_secs(120);
/// A nested host from power-on to its sshd. Emulated, on an idle machine: 15 s.
const BOOT: Duration = Duration::from_secs(600);

/// The parts from which nested hosts start.
#[derive(Debug)]
pub(crate) struct Lab {
    images: Images,
    acceleration: Acceleration,
    /// `root.qcow2`, `data.qcow2`, `memory` and `state` of a host that has booted.
    booted: PathBuf,
    /// The disk with the programs under test.
    payload: PathBuf,
    /// Of this run: overlays, logs. Removed at the end.
    directory: PathBuf,
    hosts: AtomicU32,
    _cache: Cache,
}

/// The programs under test.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) v: PathBuf,
    pub(crate) cloud_hypervisor: PathBuf,
}

impl Lab {
    /// What it is built of.
    pub(crate) fn images(&self) -> &Images {
        &self.images
    }

    /// Builds what isn't there yet.
    pub(crate) fn open(
        cache: &Path,
        programs: &Programs,
        report: &Report,
    ) -> Result<Self, Failure> {
        let directory = cache.join("run");
        let cache = Cache::open(cache)?;
        // The lock is ours, so what is there is of a run that was ended.
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory).doing(|| format!("cannot make {}", directory.display()))?;
        let directory = fs::canonicalize(&directory)
            .doing(|| format!("cannot find {}", directory.display()))?;
        let images = Images::build(&cache, report)?;
        let acceleration = Acceleration::detect(&images);
        report.line(match acceleration {
            Acceleration::Emulated => "the nested host is emulated: KVM here can't nest, or isn't",
            Acceleration::Kvm => "the nested host runs on KVM",
        });
        let payload = directory.join("payload.raw");
        let booted = boot_once(&cache, &images, acceleration, &directory, report)?;
        programs_disk(&payload, programs, &directory)?;
        let hosts = AtomicU32::new(0);
        Ok(Self { images, acceleration, booted, payload, directory, hosts, _cache: cache })
    }

    /// A directory for one nested host, with disks of its own on top of the booted one's.
    pub(crate) fn disks(&self, name: &str) -> Result<HostDirectory, Failure> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{number}-{name}"));
        fs::create_dir(&path).doing(|| format!("cannot make {}", path.display()))?;
        for disk in ["root.qcow2", "data.qcow2"] {
            overlay(&self.booted.join(disk), "qcow2", &path.join(disk))?;
        }
        Ok(HostDirectory { path })
    }

    /// A nested host in the state it was in after its first boot, within a second or two.
    pub(crate) fn restore(&self, directory: &HostDirectory) -> Result<Host, Failure> {
        let memory = Memory::Restored {
            memory: self.booted.join("memory"),
            state: self.booted.join("state"),
        };
        let host = Host::start(&self.board(directory, memory), &self.images.keys)?;
        let now = run_ok("date", ["+%s"], SHORT)?;
        host.ok(&format!("date -s @{} >/dev/null && e2e-payload", now.trim()), SHORT)?;
        Ok(host)
    }

    /// A nested host that boots from its disks as they are.
    pub(crate) fn boot(&self, directory: &HostDirectory) -> Result<Host, Failure> {
        boot(&self.board(directory, Memory::Fresh), &self.images.keys)
    }

    /// A nested host that was just switched on.
    pub(crate) fn power_on(&self, directory: &HostDirectory) -> Result<Host, Failure> {
        Host::power_on(&self.board(directory, Memory::Fresh), &self.images.keys)
    }

    fn board(&self, directory: &HostDirectory, memory: Memory) -> Board {
        board(&self.images, self.acceleration, &directory.path, &self.payload, memory)
    }

    /// Ends the lab: removes what this run made.
    pub(crate) fn close(self) {
        drop(fs::remove_dir_all(&self.directory)); // The next run does it otherwise.
    }
}

/// The disks and logs of one nested host.
#[derive(Debug)]
pub(crate) struct HostDirectory {
    path: PathBuf,
}

impl HostDirectory {
    /// Keeps the logs under `target` for a person to read.
    pub(crate) fn keep_logs(&self, target: &Path) {
        drop(fs::create_dir_all(target));
        for log in ["host-serial.log", "qemu.log"] {
            drop(fs::copy(self.path.join(log), target.join(log))); // For a person, if it can be.
        }
    }
}

impl Drop for HostDirectory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path)); // The next run does it otherwise.
    }
}

fn board(
    images: &Images,
    acceleration: Acceleration,
    directory: &Path,
    payload: &Path,
    memory: Memory,
) -> Board {
    Board {
        qemu: images.qemu.clone(),
        acceleration,
        kernel: images.kernel.join("vmlinuz"),
        initramfs: images.host.join("host.img"),
        disks: ["root.qcow2", "data.qcow2"].map(|disk| directory.join(disk)).to_vec(),
        payload: payload.to_path_buf(),
        memory,
        directory: directory.to_path_buf(),
    }
}

fn boot(board: &Board, keys: &Path) -> Result<Host, Failure> {
    let host = Host::power_on(board, keys)?;
    host.wait_for_boot(BOOT)?;
    Ok(host)
}

/// The cached part with a host's disks and state after its first boot.
fn boot_once(
    cache: &Cache,
    images: &Images,
    acceleration: Acceleration,
    run: &Path,
    report: &Report,
) -> Result<PathBuf, Failure> {
    let key = Key::new()
        .text(&run_ok(&images.qemu.to_string_lossy(), ["--version"], SHORT)?)
        .text(&format!("{acceleration:?}"))
        .text(include_str!("lab.rs"))
        .text(include_str!("qemu.rs"))
        .part(&images.host)
        .part(&images.kernel)
        .part(&images.tiny)
        .part(&images.guest);
    cache.part("booted", &key, |out| {
        report.line("booting the nested host for the first time");
        first_boot(images, acceleration, run, out).or_else(|failure| {
            if failure.is_missing() {
                return Err(failure);
            }
            // All scenarios depend on it, and QEMU was once gone before it was asked to go.
            report.line(&format!("once more, for it failed: {failure}"));
            for directory in [out, run] {
                empty(directory)?;
            }
            first_boot(images, acceleration, run, out)
        })
    })
}

/// Boots a host that has never been up, gives it the images, and writes its state into `out`.
fn first_boot(
    images: &Images,
    acceleration: Acceleration,
    run: &Path,
    out: &Path,
) -> Result<(), Failure> {
    let assets = run.join("assets");
    fs::create_dir(&assets).doing(|| format!("cannot make {}", assets.display()))?;
    for file in [
        images.kernel.join("vmlinuz"),
        images.tiny.join("tiny.img"),
        images.guest.join("guest.qcow2"),
        images.guest.join("guest.img"),
    ] {
        let name = file.file_name().ok_or_else(|| Failure::new("an image without a name"))?;
        symlink(&file, assets.join(name)).doing(|| format!("cannot link {}", file.display()))?;
    }
    let payload = run.join("assets.raw");
    let resolved = run.join("assets-files");
    run_ok("cp", [&"-rL".into(), &"--sparse=always".into(), &assets, &resolved], SHORT)?;
    payload_disk(&payload, &resolved)?;
    overlay(&images.host.join("root.raw"), "raw", &out.join("root.qcow2"))?;
    let data = out.join("data.qcow2");
    let new = ["create", "-q", "-f", "qcow2"].map(OsString::from);
    run_ok("qemu-img", new.into_iter().chain([data.into(), "20G".into()]), SHORT)?;
    let mut board = board(images, acceleration, out, &payload, Memory::Kept(out.join("memory")));
    board.directory = run.to_path_buf();
    let host = boot(&board, &images.keys)?;
    // Read and written past the cache: what is in the memory now is in every restored host.
    host.ok(
        "set -e
        mkfs.xfs -q -f -m reflink=1 /dev/vdb
        mount /dev/vdb /var/lib/virshle
        mkdir /var/lib/virshle/cache /var/lib/virshle/downloads
        cd /opt/e2e
        for file in *.img vmlinuz *.qcow2; do
            case $file in *.qcow2) place=downloads ;; *) place=cache ;; esac
            dd if=$file of=/var/lib/virshle/$place/$file bs=4M iflag=direct conv=sparse status=none
        done
        cd /
        printf 'BOOTS 0         \\n' >/var/lib/virshle/cache/boots.raw
        truncate -s 16M /var/lib/virshle/cache/boots.raw
        ovs-vsctl --timeout=10 show
        umount /opt/e2e
        sync
        echo 3 >/proc/sys/vm/drop_caches",
        Duration::from_secs(300),
    )?;
    host.save(&out.join("state"))
}

/// Removes all that is in a directory.
fn empty(directory: &Path) -> Result<(), Failure> {
    fs::remove_dir_all(directory)
        .and_then(|()| fs::create_dir(directory))
        .doing(|| format!("cannot empty {}", directory.display()))
}

/// Makes a qcow2 overlay.
fn overlay(below: &Path, format: &str, above: &Path) -> Result<(), Failure> {
    let arguments = ["create", "-q", "-f", "qcow2", "-F", format, "-b"].map(OsString::from);
    run_ok("qemu-img", arguments.into_iter().chain([below.into(), above.into()]), SHORT).map(drop)
}

/// The read-only disk with the programs, the units and a guest that takes nothing: it halts.
fn programs_disk(disk: &Path, programs: &Programs, run: &Path) -> Result<(), Failure> {
    let content = run.join("payload");
    let bin = content.join("bin");
    fs::create_dir_all(&bin).doing(|| format!("cannot make {}", bin.display()))?;
    for (program, name) in [(&programs.v, "v"), (&programs.cloud_hypervisor, "cloud-hypervisor")] {
        fs::copy(program, bin.join(name)).doing(|| format!("cannot copy {}", program.display()))?;
    }
    symlink("v", bin.join("virshle")).doing(|| "cannot link virshle".to_owned())?;
    let halt = content.join("halt.elf");
    fs::write(&halt, TestKernel::halt().to_bytes())
        .doing(|| format!("cannot write {}", halt.display()))?;
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    run_ok("cp", [&"-r".into(), &units, &content.join("systemd")], SHORT)?;
    payload_disk(disk, &content)
}

/// A disk of files. It always has the same size: a saved host has seen it already.
fn payload_disk(disk: &Path, content: &Path) -> Result<(), Failure> {
    let file = fs::File::create(disk).doing(|| format!("cannot make {}", disk.display()))?;
    file.set_len(2 << 30).doing(|| format!("cannot size {}", disk.display()))?;
    let program = program::find("mke2fs".as_ref())
        .ok_or_else(|| Failure::new("mke2fs is not here (package e2fsprogs)"))?;
    let arguments = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"].map(OsString::from);
    let arguments = arguments.into_iter().chain([content.into(), disk.into()]);
    run_ok(&program.to_string_lossy(), arguments, SHORT).map(drop)
}
