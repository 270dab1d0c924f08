//! A file that a machine is made of, or boots: an image, a disk, a kernel.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Makes sure that this user can read the file or block device in `path`. Nothing is waited for:
/// a FIFO in its place may never have a writer.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let kind = File::options().read(true).custom_flags(flags).open(path)?.metadata()?.file_type();
    let what = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        "it is a directory"
    } else if kind.is_fifo() {
        "it is a FIFO"
    } else {
        "it is a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: a FIFO in a kernel's place made a start wait for ever (ec19098).
    #[test]
    fn what_is_no_file_is_refused_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let refusal = |path: &Path| check(path).map_err(|error| error.to_string());
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(refusal(&path), Err("it is a FIFO".into()));
        assert_eq!(refusal(directory.path()), Err("it is a directory".into()));
        assert_eq!(refusal(Path::new("/dev/zero")), Err("it is a device".into()));
        std::fs::remove_file(&path).unwrap();
        assert!(check(&path).is_err());
        std::fs::write(&path, "").unwrap();
        assert_eq!(refusal(&path), Ok(()));
    }
}
