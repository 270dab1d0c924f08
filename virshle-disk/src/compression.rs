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
const XZ_MEMORY_KIB: u32 = 1 << 20;

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
            (&[0x28, 0xb5, 0x2f, 0xfd], Self::Zstd),
        ];
        magics.into_iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| kind)
    }

    /// What `packed` holds. Its own checksums are checked, and that it ends where it has to.
    pub(crate) fn unpack<'a>(self, packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        })
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
