//! Writes data without its blocks of zeros: what a fresh file was not given reads as zeros and
//! takes no room.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// What is looked at for zeros: a block of most filesystems.
const BLOCK: usize = 4096;

/// Whether a target is known to read as zeros where it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nothing was written there: it reads as zeros.
    Zeroed,
    /// It may hold data, which has to be overwritten.
    Dirty,
}

/// Writes `bytes` to `file` at `at`, leaving out whole blocks of zeros.
pub(crate) fn write_on(file: &File, bytes: &[u8], at: u64, target: Target) -> io::Result<()> {
    let mut rest = bytes;
    let mut at = at;
    while !rest.is_empty() {
        // A part that is all zeros or has none: the longest that begins here.
        let zeros = is_zero(block(rest, at));
        let mut length = block(rest, at).len();
        while length < rest.len() {
            let next = block(&rest[length..], at + length as u64);
            if is_zero(next) != zeros {
                break;
            }
            length += next.len();
        }
        match (zeros, target) {
            (false, _) => file.write_all_at(&rest[..length], at)?,
            (true, Target::Zeroed) => {}
            (true, Target::Dirty) => write_zeros(file, at, length as u64)?,
        }
        rest = &rest[length..];
        at += length as u64;
    }
    Ok(())
}

/// Writes `bytes` to `file` at `at`, where nothing was written before, and leaves out whole blocks
/// of zeros: they take no room, and are read as zeros. The file is not made longer for them.
///
/// # Errors
///
/// If a write fails; any part of it may have been done.
pub fn write_sparse(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    write_on(file, bytes, at, Target::Zeroed)
}

/// The part of `bytes`, which are to stand at `at`, that ends with a block of the file.
fn block(bytes: &[u8], at: u64) -> &[u8] {
    let into = usize::try_from(at % BLOCK as u64).unwrap_or(0);
    &bytes[..bytes.len().min(BLOCK - into)]
}

/// Makes `length` bytes of `file` zeros that take no room where the filesystem can.
pub(crate) fn write_zeros(file: &File, at: u64, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, length) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = [0; 16 * BLOCK];
            let (mut at, mut left) = (at, length);
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(zeros.len()).min(zeros.len());
                file.write_all_at(&zeros[..part], at)?;
                at += part as u64;
                left -= part as u64;
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    let words = bytes.chunks_exact(16);
    let rest = words.remainder();
    words.map(TryInto::try_into).all(|word| word.is_ok_and(|word| u128::from_ne_bytes(word) == 0))
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_take_no_room_and_data_stays_where_it_was() {
        let mut bytes = vec![0; 1 << 20];
        bytes[5] = 1;
        bytes[300_000..300_010].fill(2);
        let last = bytes.len() - 1;
        bytes[last] = 3;
        for at in [0, 512, 4096, 5000] {
            let file = tempfile::tempfile().unwrap();
            write_sparse(&file, &bytes, at).unwrap();
            file.set_len(at + bytes.len() as u64).unwrap();
            let mut found = vec![9; bytes.len()];
            file.read_exact_at(&mut found, at).unwrap();
            assert!(found == bytes, "at {at}");
            file.sync_all().unwrap();
            assert!(file.metadata().unwrap().blocks() * 512 < 128 << 10, "at {at}");
        }
    }

    #[test]
    fn zeros_replace_what_was_there() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 40_000], 0).unwrap();
        write_on(&file, &[0; 20_000], 10_000, Target::Dirty).unwrap();
        let mut found = vec![0; 40_000];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found[..10_000].iter().chain(&found[30_000..]).all(|byte| *byte == 7));
        assert!(found[10_000..30_000].iter().all(|byte| *byte == 0));
        assert_eq!(file.metadata().unwrap().len(), 40_000);
    }
}
