//! Images that others made.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};
use virshle_disk::{ConvertRequest, Format};

/// A qcow2: its header is read, its tables are followed, it is made raw, and it is grown.
pub fn qcow2(bytes: &[u8]) {
    let file = std::fs::File::from(memfd_create("image", MemfdFlags::CLOEXEC).unwrap());
    file.write_all_at(bytes, 0).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    // Whatever it is, also if it is packed: that is found out before anything is unpacked.
    drop(ConvertRequest::new(&path, &PathBuf::from("/dev/null/none")).is_needed());
    let Ok(image) = virshle_disk::inspect(&path) else {
        // By several threads, if it has blocks that can be told.
        if bytes.starts_with(b"\xfd7zXZ\0") {
            let directory = tempfile::TempDir::new().unwrap();
            let unpacked = ConvertRequest::new(&path, &directory.path().join("raw"));
            drop(unpacked.most_bytes(16 << 20).run());
        }
        return;
    };
    // Sparse, and yet: a test takes no more than it has to.
    if image.virtual_size_bytes > 1 << 30 {
        return;
    }
    drop(virshle_disk::check(&path));
    drop(virshle_disk::has_compressed_clusters(&path));
    let directory = tempfile::TempDir::new().unwrap();
    let raw = directory.path().join("raw");
    if let Ok(made) = ConvertRequest::new(&path, &raw).format(Format::Raw).run() {
        assert_eq!(made.format, Format::Raw);
        // A raw image is filled up to whole sectors.
        assert_eq!(made.virtual_size_bytes, image.virtual_size_bytes.next_multiple_of(512));
    }
    assert!(std::fs::read_dir(directory.path()).unwrap().all(|entry| entry.unwrap().path() == raw));
    // The zeros behind a raw one's few bytes may make them look like another format.
    let is_grown = virshle_disk::grow(&path, image.virtual_size_bytes + (1 << 20)).is_ok();
    if is_grown && image.format == Format::Qcow2 {
        let grown = virshle_disk::inspect(&path).unwrap();
        assert_eq!(grown.virtual_size_bytes, image.virtual_size_bytes + (1 << 20));
    }
}
