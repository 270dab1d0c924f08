//! xz files of several blocks, which are unpacked by all cores: each block stands for itself.
//!
//! Each is given to the reader of whole files as a stream of one block, so that what that checks (sums,
//! sizes, memory) is checked here as well. What is not laid out as `xz -T` does it, in one stream, is
//! unpacked from its beginning to its end.
//!
//! # References
//!
//! The .xz File Format 1.2.1, 2.1.1 (stream header), 2.1.2 (footer), 3.1 (block header), 4 (index).

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::Crc;
use lzma_rust2::XzReader;

/// The length of a stream's header, and of its footer, in bytes.
const EDGE: u64 = 12;
/// The largest index that is read, in bytes: of a million blocks.
const MAX_INDEX: u64 = 16 << 20;
/// What is passed on at a time, in bytes.
const CHUNK: usize = 1 << 20;
/// What all threads together may be ahead of the reader, in bytes.
const AHEAD: usize = 256 << 20;
/// What one thread may be ahead, in bytes: more than the blocks that `xz` makes have.
const AHEAD_EACH: usize = 32 << 20;
/// The most memory of all dictionaries together, in bytes.
const DICTIONARIES: u64 = 512 << 20;

/// One block of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: u64,
    /// Without the zeros that fill it up to a multiple of four.
    unpadded: u64,
    unpacked: u64,
}

impl Block {
    fn end(self) -> u64 {
        self.start + self.unpadded.next_multiple_of(4)
    }
}

/// What threads have unpacked, in its order.
#[derive(Debug)]
pub(crate) struct XzBlocks {
    /// One for each thread, which has every `threads`th block.
    pieces: Vec<Receiver<io::Result<Vec<u8>>>>,
    blocks: usize,
    block: usize,
    piece: Cursor<Vec<u8>>,
    read: Arc<AtomicU64>,
}

impl XzBlocks {
    /// Unpacks `file` by several threads, if it is one whose blocks can be told.
    pub(crate) fn of(file: &File) -> Option<Self> {
        let cores = thread::available_parallelism().ok()?.get();
        Self::by(file, cores)
    }

    fn by(file: &File, threads: usize) -> Option<Self> {
        let (header, blocks) = layout(file)?;
        let dictionary = dictionary(file, blocks.first()?)?;
        let affordable = usize::try_from(DICTIONARIES / dictionary.max(1)).unwrap_or(usize::MAX);
        let threads = threads.min(blocks.len()).min(affordable);
        if threads < 2 {
            return None;
        }
        let file = Arc::new(file.try_clone().ok()?);
        let read = Arc::new(AtomicU64::new(0));
        let ahead = (AHEAD / threads).min(AHEAD_EACH) / CHUNK;
        let pieces = (0..threads).map(|first| {
            let (sender, receiver) = sync_channel(ahead.max(1));
            let own: Vec<Block> = blocks.iter().copied().skip(first).step_by(threads).collect();
            let (file, read) = (Arc::clone(&file), Arc::clone(&read));
            let work = move || unpack(&file, header, &own, &sender, &read);
            thread::Builder::new().name("unpack".into()).spawn(work).ok()?;
            Some(receiver)
        });
        // Those that were spawned end when nobody reads what they send.
        let pieces = pieces.collect::<Option<Vec<_>>>()?;
        let blocks = blocks.len();
        Some(Self { pieces, blocks, block: 0, piece: Cursor::default(), read })
    }

    /// How many bytes of the file were read so far.
    pub(crate) fn read_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }
}

impl Read for XzBlocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.block == self.blocks {
                return Ok(read);
            }
            let pieces = &self.pieces[self.block % self.pieces.len()];
            let piece =
                pieces.recv().map_err(|_| io::Error::other("a thread ended too early"))??;
            // An empty one ends a block.
            if piece.is_empty() {
                self.block += 1;
            }
            self.piece = Cursor::new(piece);
        }
    }
}

/// Unpacks these blocks, one after the other.
fn unpack(
    file: &Arc<File>,
    header: [u8; EDGE as usize],
    blocks: &[Block],
    sender: &SyncSender<io::Result<Vec<u8>>>,
    read: &Arc<AtomicU64>,
) {
    for block in blocks {
        let range = Range { file: Arc::clone(file), at: block.start, end: block.end() };
        let tail = tail(&header, *block);
        let stream = Cursor::new(header).chain(range).chain(Cursor::new(tail));
        // All of a block is read once, whatever is read ahead of it.
        let limit = super::compression::XZ_MEMORY_KIB;
        let mut stream = XzReader::new_mem_limit(io::BufReader::new(stream), false, limit);
        loop {
            let mut piece = Vec::with_capacity(CHUNK);
            let result = stream.by_ref().take(CHUNK as u64).read_to_end(&mut piece);
            let is_end = matches!(result, Ok(0));
            let failed = result.is_err();
            if sender.send(result.map(|_| piece)).is_err() || failed {
                return;
            }
            if is_end {
                break;
            }
        }
        read.fetch_add(block.end() - block.start, Ordering::Relaxed);
    }
}

/// A part of a file.
#[derive(Debug)]
struct Range {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Range {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The end of a stream that has nothing but `block`: its index and its footer.
fn tail(header: &[u8; EDGE as usize], block: Block) -> Vec<u8> {
    let mut index = vec![0, 1];
    push_number(&mut index, block.unpadded);
    push_number(&mut index, block.unpacked);
    index.resize(index.len().next_multiple_of(4), 0);
    let sum = crc32(&index);
    index.extend(sum.to_le_bytes());
    // Of the index, in words of four bytes, less one.
    let words = u32::try_from(index.len() / 4 - 1).unwrap_or(0);
    let mut counted = words.to_le_bytes().to_vec();
    counted.extend(&header[6..8]);
    let mut tail = index;
    tail.extend(crc32(&counted).to_le_bytes());
    tail.extend(counted);
    tail.extend(b"YZ");
    tail
}

/// The header of a file of one stream, and its blocks, if there are several.
fn layout(file: &File) -> Option<([u8; EDGE as usize], Vec<Block>)> {
    let length = file.metadata().ok()?.len();
    let (mut header, mut footer) = ([0; EDGE as usize], [0; EDGE as usize]);
    file.read_exact_at(&mut header, 0).ok()?;
    file.read_exact_at(&mut footer, length.checked_sub(EDGE)?).ok()?;
    let [a, b, c, d, counted @ .., y, z] = footer;
    let sum = u32::from_le_bytes([a, b, c, d]);
    if [y, z] != *b"YZ" || crc32(&counted) != sum || counted[4..] != header[6..8] {
        return None;
    }
    let words = u32::from_le_bytes([counted[0], counted[1], counted[2], counted[3]]);
    let index_bytes = (u64::from(words) + 1) * 4;
    let index_start =
        length.checked_sub(EDGE + index_bytes).filter(|_| index_bytes <= MAX_INDEX)?;
    let mut index = vec![0; usize::try_from(index_bytes).ok()?];
    file.read_exact_at(&mut index, index_start).ok()?;
    let (records, sum) = index.split_last_chunk::<4>()?;
    if crc32(records) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = records.strip_prefix(&[0])?;
    let count = number(&mut rest)?;
    let mut start = EDGE;
    let mut blocks = Vec::new();
    for _ in 0..count {
        let block = Block { start, unpadded: number(&mut rest)?, unpacked: number(&mut rest)? };
        // One has a header at least, and all are before the index.
        start = start.checked_add(block.unpadded.checked_next_multiple_of(4)?)?;
        if block.unpadded < 8 || start > index_start {
            return None;
        }
        blocks.push(block);
    }
    // Another stream before this one would be left out.
    let is_whole = start == index_start && rest.iter().all(|byte| *byte == 0);
    (is_whole && blocks.len() > 1).then_some((header, blocks))
}

/// The size of the dictionary that a block needs, in bytes.
fn dictionary(file: &File, block: &Block) -> Option<u64> {
    let mut header = [0; 64];
    let length = file.read_at(&mut header, block.start).ok()?;
    let (size, rest) = header[..length].split_first()?;
    let mut rest = rest.get(..usize::from(*size) * 4 - 1).unwrap_or(rest);
    let (flags, more) = rest.split_first()?;
    rest = more;
    for is_there in [flags & 0x40 != 0, flags & 0x80 != 0] {
        if is_there {
            number(&mut rest)?;
        }
    }
    let filters = (flags & 3) + 1;
    let mut dictionary = None;
    for _ in 0..filters {
        let id = number(&mut rest)?;
        let length = usize::try_from(number(&mut rest)?).ok()?;
        let (properties, more) = rest.split_at_checked(length)?;
        rest = more;
        if id == LZMA2 {
            let bits = u32::from(*properties.first()?);
            dictionary = (bits < 40).then(|| u64::from(2 | (bits & 1)) << (bits / 2 + 11));
        }
    }
    dictionary
}

/// The filter of each file that xz makes.
const LZMA2: u64 = 0x21;

/// A number of variable length (1.2 of the format).
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use virshle_testkit_macros::test_on;

    use super::*;

    /// Noise and zeros, packed by xz with these options.
    fn packed(directory: &Path, options: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let mut seed = 7_u64;
        let mut bytes: Vec<u8> = (0..1 << 20)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 59) as u8
            })
            .collect();
        bytes[200 << 10..500 << 10].fill(0);
        bytes.truncate(bytes.len() - 777);
        let path = directory.join("whole");
        fs::write(&path, &bytes).unwrap();
        let output =
            Command::new("xz").args(["-c", "-0"]).args(options).arg(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (bytes, output.stdout)
    }

    fn unpacked(directory: &Path, packed: &[u8], threads: usize) -> Option<io::Result<Vec<u8>>> {
        let path = directory.join("packed");
        fs::write(&path, packed).unwrap();
        let mut blocks = XzBlocks::by(&File::open(path).unwrap(), threads)?;
        let read = blocks.read_bytes();
        let mut bytes = Vec::new();
        Some(blocks.read_to_end(&mut bytes).map(|_| {
            assert!(read.load(Ordering::Relaxed) <= packed.len() as u64);
            bytes
        }))
    }

    #[test_on(Packers)]
    fn packers_blocks_come_back_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        for options in [
            &["--block-size=150KiB"][..],
            &["--block-size=100KiB", "--check=sha256"],
            &["--block-size=150KiB", "--check=crc32", "--x86", "--lzma2=preset=1"],
            &["-T4", "--block-size=300KiB", "--check=none"],
        ] {
            let (bytes, packed) = packed(directory, options);
            for threads in [2, 3, 64] {
                let found = unpacked(directory, &packed, threads).unwrap().unwrap();
                assert!(found == bytes, "{options:?}, {threads} threads");
            }
            assert!(unpacked(directory, &packed, 1).is_none());
        }
    }

    #[test_on(Packers)]
    fn packers_what_has_no_blocks_is_left_to_the_other_reader() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let (_, one) = packed(directory, &["-T1"]);
        let (_, many) = packed(directory, &["--block-size=150KiB"]);
        for other in [
            one.clone(),
            // Two streams; zeros at the end; cut short; nothing of it.
            [&one[..], &many].concat(),
            [&many[..], &[0; 4]].concat(),
            many[..many.len() - 1].to_vec(),
            vec![0; 100],
            Vec::new(),
        ] {
            assert!(unpacked(directory, &other, 4).is_none());
        }
    }

    #[test_on(Packers)]
    fn packers_damage_anywhere_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let (bytes, whole) = packed(directory, &["--block-size=150KiB", "--check=sha256"]);
        let mut refused = 0;
        for at in (12..whole.len() - 40).step_by(whole.len() / 40) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            match unpacked(directory, &damaged, 3) {
                None => {}
                Some(Err(_)) => refused += 1,
                Some(Ok(found)) => assert!(found == bytes, "damage at {at} is not seen"),
            }
        }
        assert!(refused > 30, "{refused}");
        // One that nobody reads to its end leaves no thread waiting.
        drop(XzBlocks::by(&File::open(directory.join("packed")).unwrap(), 3));
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for value in [0, 1, 127, 128, 300, 1 << 20, (1 << 63) - 1] {
            let mut bytes = Vec::new();
            push_number(&mut bytes, value);
            let mut rest = &bytes[..];
            assert_eq!((number(&mut rest), rest.len()), (Some(value), 0));
        }
        assert_eq!(number(&mut &[0x80_u8; 12][..]), None);
        assert_eq!(number(&mut &[0x80_u8][..]), None);
    }
}
