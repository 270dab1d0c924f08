//! The images of the lab, each built by a script under `e2e/image` and kept in the cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cache::{Cache, Key};
use crate::failure::{Failure, While};
use crate::program;
use crate::report::Report;

/// How long a builder may take; most of it is packages being fetched.
const BUILD_DEADLINE: Duration = Duration::from_secs(20 * 60);

/// The folders of all the images.
#[derive(Clone, Debug)]
pub(crate) struct Images {
    /// `id_ed25519`, with which the harness enters the nested host, and the host its guests.
    pub(crate) keys: PathBuf,
    /// `vmlinuz`, of the nested host and of its guests.
    pub(crate) kernel: PathBuf,
    /// `tiny.img`, the small guest.
    pub(crate) tiny: PathBuf,
    /// `guest.raw` and `guest.img`, the Debian guest.
    pub(crate) guest: PathBuf,
    /// `root.raw` and `host.img`, the nested host.
    pub(crate) host: PathBuf,
}

impl Images {
    /// Builds what the cache doesn't have.
    pub(crate) fn build(cache: &Cache, report: &Report) -> Result<Self, Failure> {
        let keys = cache.part("keys", &Key::new(), |out| {
            let file = out.join("id_ed25519");
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", "e2e", "-f"];
            let arguments = arguments.iter().map(Path::new).chain([file.as_path()]);
            program::run_ok("ssh-keygen", arguments, Duration::from_secs(60)).map(drop)
        })?;
        let kernel = image(cache, report, "kernel", &[], &[])?;
        let tiny = image(cache, report, "tiny", &["tiny-init", "tiny-dhcp"], &[&kernel, &keys])?;
        let guest = image(cache, report, "guest", &["guest-init"], &[&kernel])?;
        let host = image(cache, report, "host", &["host-init", "host-files"], &[&kernel, &keys])?;
        Ok(Self { keys, kernel, tiny, guest, host })
    }
}

/// Where the builders are.
pub(crate) fn folder() -> PathBuf {
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
    let script = folder().join(name);
    let mut key = Key::new().file(&folder().join("debian.sh"))?.file(&script)?;
    for file in files {
        key = key.file(&folder().join(file))?;
    }
    for part in parts {
        key = key.part(part);
    }
    cache.part(name, &key, |out| {
        report.line(&format!("building the image {name}"));
        let arguments = std::iter::once(out).chain(parts.iter().copied());
        program::run_ok(&script.to_string_lossy(), arguments, BUILD_DEADLINE)
            .doing(|| format!("{} failed", script.display()))
            .map(drop)
    })
}
