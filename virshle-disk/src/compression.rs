//! Decompresses gzip, xz and zstd streams while they are read; recognises them by content.

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::{DeflateDecoder, MultiGzDecoder};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// gzip (RFC 1952).
    Gzip,
    /// xz, of one stream or several.
    Xz,
    /// Zstandard (RFC 8878), with windows of up to 128 MiB, as `zstd --long` makes them.
    Zstd,
}

/// The most memory that unpacking may take, in KiB: a hostile file asks for more than a host has.
pub(crate) const XZ_MEMORY_KIB: u32 = 1 << 20;

impl Compression {
    /// Returns how a file is compressed that begins with `head`; none if it isn't.
    ///
    /// # References
    ///
    /// RFC 1952 §2.3.1, "The .xz File Format" §2.1.1.1, RFC 8878 §3.1.
    pub fn of(head: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 3] = [
            (&[0x1f, 0x8b, 0x08], Self::Gzip),
            (b"\xfd7zXZ\0", Self::Xz),
            (&ZSTD_MAGIC, Self::Zstd),
        ];
        let head = behind_skippable(head);
        magics.into_iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| kind)
    }

    /// What `packed` holds. Its own checksums are checked, and that it ends where it has to.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](io::ErrorKind::OutOfMemory), here or when it is read, if it is whole and
    /// takes more memory to unpack than is allowed.
    pub(crate) fn unpack<'a>(
        self,
        mut packed: impl BufRead + 'a,
    ) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB)),
            Self::Zstd => {
                refuse_large_window(packed.fill_buf()?)?;
                Box::new(zstd::stream::read::Decoder::with_buffer(packed)?)
            }
        })
    }

    /// The program that unpacks what takes too much memory for this crate.
    pub(crate) fn unpacked_by(self) -> &'static str {
        match self {
            Self::Gzip => "gunzip",
            Self::Xz => "xz -d",
            Self::Zstd => "zstd -d --long=31",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// What begins a frame of zstd.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The largest window that zstd's decoder takes, in bytes: its `ZSTD_WINDOWLOG_LIMIT_DEFAULT`.
const MAX_WINDOW: u64 = 1 << 27;

/// `head` without the frames that a decoder skips: `pzstd` begins its files with one. lz4 has the
/// same, so what comes behind it decides. If that is beyond `head` nothing is left.
///
/// # References
///
/// RFC 8878 §3.1.2: 0x184D2A50 to 0x184D2A5F and a length, little-endian.
pub(crate) fn behind_skippable(mut head: &[u8]) -> &[u8] {
    while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, rest @ ..] = head {
        let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        head = rest.get(length..).unwrap_or_default();
    }
    head
}

/// Refuses a file of zstd that begins with `head` if its window is larger than the decoder's, which
/// would report that as it reports damage.
///
/// # References
///
/// RFC 8878 §3.1.1.1.
fn refuse_large_window(head: &[u8]) -> io::Result<()> {
    let Some(header) = behind_skippable(head).strip_prefix(&ZSTD_MAGIC) else { return Ok(()) };
    let Some((descriptor, rest)) = header.split_first() else { return Ok(()) };
    let window_bytes = if descriptor & 0x20 == 0 {
        // A power of two, and eighths of it.
        let Some(window) = rest.first() else { return Ok(()) };
        let base = 1_u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    } else {
        // All of the content, whose size is behind the dictionary's number.
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
        let Some(size) = rest.get(dictionary..dictionary + length) else { return Ok(()) };
        let size = size.iter().rev().fold(0, |size, byte| size << 8 | u64::from(*byte));
        if length == 2 { size + 256 } else { size }
    };
    if window_bytes <= MAX_WINDOW {
        return Ok(());
    }
    let message = format!("its window has {window_bytes} bytes, and {MAX_WINDOW} are the most");
    Err(io::Error::new(io::ErrorKind::OutOfMemory, message))
}

/// How the clusters of a qcow2 are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClusterCompression {
    #[default]
    Deflate,
    Zstd,
}

impl ClusterCompression {
    /// Unpacks one cluster, all of `cluster`. What follows it in `packed` is not its own: lengths
    /// are kept in sectors.
    pub(crate) fn unpack(self, packed: &[u8], cluster: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Deflate => DeflateDecoder::new(packed).read_exact(cluster),
            Self::Zstd => zstd::stream::read::Decoder::with_buffer(packed)?.read_exact(cluster),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn unpacked(kind: Compression, packed: &[u8]) -> io::Result<Vec<u8>> {
        assert_eq!(Compression::of(packed), Some(kind));
        let mut bytes = Vec::new();
        kind.unpack(packed)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&[7; 100_000]).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&[7; 100_000][..], 3).unwrap();
        for (kind, packed) in [(Compression::Gzip, gzip), (Compression::Zstd, zstd)] {
            assert_eq!(unpacked(kind, &packed).unwrap(), [7; 100_000]);
            // Several streams behind each other are one file.
            assert_eq!(unpacked(kind, &[&packed[..], &packed].concat()).unwrap().len(), 200_000);
            for cut in [5, packed.len() / 2, packed.len() - 1] {
                assert!(unpacked(kind, &packed[..cut]).is_err(), "{kind} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_not_compressed_is_not_taken_for_it() {
        for head in [&b""[..], b"\x1f\x8b", b"QFI\xfb", &[0; 512]] {
            assert_eq!(Compression::of(head), None);
        }
    }

    #[test]
    fn frames_that_are_skipped_hide_nothing() {
        let skipped = |content: &[u8], rest: &[u8]| {
            let length = u32::try_from(content.len()).unwrap().to_le_bytes();
            [&[0x5a, 0x2a, 0x4d, 0x18], &length[..], content, rest].concat()
        };
        let zstd = zstd::encode_all(&[7; 1000][..], 3).unwrap();
        let packed = skipped(&[1; 4], &skipped(&[], &zstd));
        assert_eq!(unpacked(Compression::Zstd, &packed).unwrap(), [7; 1000]);
        assert_eq!(Compression::of(&skipped(&[1; 4], &[4, 0x22, 0x4d, 0x18])), None);
        assert_eq!(Compression::of(&[0x50, 0x2a, 0x4d, 0x18, 0xff, 0xff, 0xff, 0xff, 1]), None);
        assert_eq!(behind_skippable(&[0x50, 0x2a, 0x4d]), [0x50, 0x2a, 0x4d]);
    }

    #[test]
    fn a_window_is_read_from_its_header() {
        let refused = |header: &[u8]| refuse_large_window(&[&ZSTD_MAGIC, header].concat()).is_err();
        // 128 MiB; an eighth more; 2 GiB.
        assert!(!refused(&[0, 17 << 3]) && refused(&[0, 17 << 3 | 1]) && refused(&[0, 21 << 3]));
        // Of the content's size, without and with the number of a dictionary.
        assert!(!refused(&[0xa0, 0, 0, 0, 8]) && refused(&[0xa0, 1, 0, 0, 8]));
        assert!(!refused(&[0xa1, 9, 0, 0, 0, 8]) && refused(&[0xa1, 9, 1, 0, 0, 8]));
        for cut in [&[][..], &[0], &[0xa0, 1, 2]] {
            assert!(!refused(cut), "{cut:?}");
        }
    }

    #[test]
    fn a_cluster_is_unpacked_whatever_follows_it() {
        let mut packed = zstd::encode_all(&[7; 4096][..], 3).unwrap();
        packed.extend([0xee; 300]);
        let mut cluster = [0; 4096];
        ClusterCompression::Zstd.unpack(&packed, &mut cluster).unwrap();
        assert_eq!(cluster, [7; 4096]);
        assert!(ClusterCompression::Zstd.unpack(b"nonsense", &mut cluster).is_err());
        assert!(ClusterCompression::Deflate.unpack(b"", &mut cluster).is_err());
    }
}
