//! The images of the lab, each built by a script under `e2e/image` and kept in the cache.

use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::cache::{Cache, Key};
use crate::failure::{Failure, While, ensure};
use crate::program::{self, Outcome};
use crate::report::Report;

/// How long a builder may take; most of it is packages being fetched.
const BUILD_DEADLINE: Duration = Duration::from_secs(20 * 60);

/// What the builders answer when the packages can't be had from here.
const NO_PACKAGES: i32 = 75;

/// The directories of all the images, and what runs them.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// QEMU: this machine's, or else Debian's, unpacked in the cache.
    pub(crate) qemu: PathBuf,
    /// `id_ed25519`, with which the harness enters the nested host, and the host its guests.
    pub(crate) keys: PathBuf,
    /// `vmlinuz`, of the nested host and of its guests.
    pub(crate) kernel: PathBuf,
    /// `tiny.img`, the small guest.
    pub(crate) tiny: PathBuf,
    /// `guest.qcow2` and `guest.img`, the Debian guest.
    pub(crate) guest: PathBuf,
    /// `root.raw` and `host.img`, the nested host.
    pub(crate) host: PathBuf,
}

impl Images {
    /// Builds what the cache doesn't have, as much of it at a time as can be.
    pub(crate) fn build(cache: &Cache, report: &Report) -> Result<Self, Failure> {
        let keys = cache.part("keys", &Key::new(), |out| {
            let file = out.join("id_ed25519");
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "e2e", "-f"];
            let arguments = arguments.iter().map(Path::new).chain([file.as_path()]);
            program::run_ok("ssh-keygen", arguments, Duration::from_secs(60)).map(drop)
        })?;
        let image =
            &|name: &str, files: &[&str], parts: &[&Path]| image(cache, report, name, files, parts);
        std::thread::scope(|scope| {
            let qemu = scope.spawn(|| match program::find("qemu-system-x86_64".as_ref()) {
                Some(installed) => Ok(installed),
                None => Ok(image("qemu", &[], &[])?.join("qemu-system-x86_64")),
            });
            let kernel = image("kernel", &[], &[])?;
            let of = kernel.clone();
            let guest = scope.spawn(move || image("guest", &["guest-init"], &[&of]));
            let (of, key) = (kernel.clone(), &keys);
            let host =
                scope.spawn(move || image("host", &["host-init", "host-files"], &[&of, key]));
            let tiny = image("tiny", &["tiny-init", "tiny-dhcp"], &[&kernel, key])?;
            let (qemu, guest, host) = (built(qemu)?, built(guest)?, built(host)?);
            Ok(Self { qemu, keys: key.clone(), kernel, tiny, guest, host })
        })
    }
}

/// What a thread has built.
fn built(thread: ScopedJoinHandle<'_, Result<PathBuf, Failure>>) -> Result<PathBuf, Failure> {
    thread.join().unwrap_or_else(|_| Err(Failure::new("a builder panicked")))
}

/// Where the builders are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("image")
}

/// One image: made by the script of that name out of `files` beside it and other parts.
fn image(
    cache: &Cache,
    report: &Report,
    name: &str,
    files: &[&str],
    parts: &[&Path],
) -> Result<PathBuf, Failure> {
    let script = directory().join(name);
    let mut key = Key::new().file(&directory().join("debian.sh"))?.file(&script)?;
    for file in files {
        key = key.file(&directory().join(file))?;
    }
    for part in parts {
        key = key.part(part);
    }
    cache.part(name, &key, |out| {
        report.line(&format!("building the image {name}"));
        let start = Instant::now();
        let arguments = std::iter::once(out).chain(parts.iter().copied());
        let failed = || format!("{} failed", script.display());
        let Outcome { code, stdout, stderr } =
            program::run(&script.to_string_lossy(), arguments, BUILD_DEADLINE).doing(failed)?;
        if code == NO_PACKAGES {
            return Err(Failure::missing(format!("Debian's packages: {}", stderr.trim())));
        }
        ensure!(code == 0, "{} ended with {code}\n{stdout}{stderr}", script.display());
        report.line(&format!("built {name} in {:.0} s", start.elapsed().as_secs_f64()));
        Ok(())
    })
}
