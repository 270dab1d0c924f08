//! The first boot of a stock Debian as far as cloud-init is concerned: the package's own programs,
//! run in a root and in namespaces of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What is done there.
const SCRIPT: &str = include_str!("cloud_init.sh");

/// A guest that cloud-init has set up: the files of its root.
#[derive(Debug)]
pub struct CloudInitGuest {
    directory: TempDir,
}

impl CloudInitGuest {
    /// Lets the real cloud-init set up a guest that has the disk image `seed`, and an interface for
    /// each of `macs`. As at a boot, it looks for a source of data first, among the disks there
    /// are.
    ///
    /// # Errors
    ///
    /// If cloud-init takes `seed` for no source of data, or doesn't understand it: its output is in
    /// the error.
    pub fn boot(seed: &Path, macs: &[&str]) -> io::Result<Self> {
        let guest = Self { directory: tempfile::tempdir()? };
        let output = Command::new("unshare")
            .args([
                "--mount", "--net", "--uts", "--pid", "--fork", "--ipc", "sh", "-c", SCRIPT, "sh",
            ])
            .arg(guest.directory.path())
            .arg(seed)
            .args(macs)
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(guest);
        }
        let message = [output.stdout, output.stderr].concat();
        Err(io::Error::other(String::from_utf8_lossy(&message).into_owned()))
    }

    /// The text of a file of its root; empty if there is none.
    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.directory.path().join(path)).unwrap_or_default()
    }

    /// A file of its root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }
}
