//! Filesystems of a test's own, on loop devices.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A filesystem in a file, mounted in a temporary directory; unmounted when this is dropped, also
/// when the test fails.
#[derive(Debug)]
pub struct LoopFilesystem {
    directory: TempDir,
}

impl LoopFilesystem {
    /// XFS with reflinks, of at least 300 MiB.
    ///
    /// # Errors
    ///
    /// If a program fails; its output is in the error.
    pub fn xfs(size_bytes: u64) -> io::Result<Self> {
        Self::make(size_bytes, &["mkfs.xfs", "-q", "-m", "reflink=1"])
    }

    /// btrfs, of at least 128 MiB.
    ///
    /// # Errors
    ///
    /// As [`LoopFilesystem::xfs`].
    pub fn btrfs(size_bytes: u64) -> io::Result<Self> {
        Self::make(size_bytes, &["mkfs.btrfs", "-q"])
    }

    /// ext4, which knows no reflinks.
    ///
    /// # Errors
    ///
    /// As [`LoopFilesystem::xfs`].
    pub fn ext4(size_bytes: u64) -> io::Result<Self> {
        Self::make(size_bytes, &["mkfs.ext4", "-q", "-F", "-m", "0"])
    }

    fn make(size_bytes: u64, mkfs: &[&str]) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let image = directory.path().join("image");
        File::create(&image)?.set_len(size_bytes)?;
        let (program, args) = mkfs.split_first().unwrap_or((&"mkfs", &[]));
        run(Command::new(program).args(args).arg(&image))?;
        let filesystem = Self { directory };
        std::fs::create_dir(filesystem.path())?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(filesystem.path()))?;
        Ok(filesystem)
    }

    /// Where it is mounted.
    pub fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("mounted")
    }
}

impl Drop for LoopFilesystem {
    fn drop(&mut self) {
        // Lazily: a test that fails may still hold a file of it.
        drop(run(Command::new("umount").arg("-l").arg::<&Path>(&self.path())));
    }
}

/// A directory seen through FUSE by `bindfs`, which answers `O_TMPFILE` and `RENAME_NOREPLACE` as 9p
/// and NFS do, not at all, and keeps what is removed while it is open under a hidden name, as NFS
/// does. Unmounted when this is dropped.
#[derive(Debug)]
pub struct FuseFilesystem {
    directory: TempDir,
}

impl FuseFilesystem {
    /// Mounts it.
    ///
    /// # Errors
    ///
    /// If a program fails; its output is in the error.
    pub fn mount() -> io::Result<Self> {
        let filesystem = Self { directory: tempfile::tempdir()? };
        let below = filesystem.directory.path().join("below");
        std::fs::create_dir(&below)?;
        std::fs::create_dir(filesystem.path())?;
        run(Command::new("bindfs").arg(&below).arg(filesystem.path()))?;
        Ok(filesystem)
    }

    /// Where it is mounted.
    pub fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("mounted")
    }

    /// What is in its root, hidden names too, in order.
    ///
    /// # Errors
    ///
    /// If it can't be read.
    pub fn names(&self) -> io::Result<Vec<std::ffi::OsString>> {
        let entries = std::fs::read_dir(self.path())?;
        let mut names: Vec<_> =
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }
}

impl Drop for FuseFilesystem {
    fn drop(&mut self) {
        // Lazily: a test that fails may still hold a file of it.
        drop(run(Command::new("umount").arg("-l").arg::<&Path>(&self.path())));
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{command:?}: {}: {message}", output.status)))
}
