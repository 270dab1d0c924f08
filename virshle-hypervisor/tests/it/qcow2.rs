//! Small qcow2 images.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An empty image of 1 MiB: the header, a refcount table and block, and an L1 table, each a
/// cluster of 64 KiB.
pub(crate) fn empty() -> Vec<u8> {
    let mut image = vec![0; 4 << 16];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16_u32.to_be_bytes()); // cluster bits
    put(24, &(1_u64 << 20).to_be_bytes()); // size
    put(36, &1_u32.to_be_bytes()); // L1 entries
    put(40, &(3_u64 << 16).to_be_bytes()); // L1 table
    put(48, &(1_u64 << 16).to_be_bytes()); // refcount table
    put(56, &1_u32.to_be_bytes()); // clusters of it
    put(96, &4_u32.to_be_bytes()); // refcount order
    put(100, &104_u32.to_be_bytes()); // length of the header
    put(1 << 16, &(2_u64 << 16).to_be_bytes());
    put(2 << 16, &[0, 1, 0, 1, 0, 1, 0, 1]);
    image
}

/// An empty image of 1 MiB on top of another qcow2 image.
pub(crate) fn over(base: &Path) -> Vec<u8> {
    let mut image = empty();
    let name = base.as_os_str().as_bytes();
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(8, &512_u64.to_be_bytes()); // where the name is
    put(16, &u32::try_from(name.len()).unwrap().to_be_bytes());
    put(104, &0xe279_2aca_u32.to_be_bytes()); // header extension: format of the base
    put(108, &5_u32.to_be_bytes());
    put(112, b"qcow2");
    put(512, name);
    image
}
