//! What an import may take: a few bytes that are compressed can be any number that are not.

use std::fs;
use std::process::Command;

use virshle_disk::DiskError;
use virshle_image::{Expected, ImageError, ImportFormat};
use virshle_testkit::{LoopFilesystem, WebFile, WebServer};
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, MIB, file, noise, sha256, url};

/// Some KiB that have `mib` MiB in them, and no zeros.
fn bomb(lab: &Lab, mib: usize) -> Vec<u8> {
    let whole = lab.path("whole");
    fs::write(&whole, vec![7; mib * MIB]).unwrap();
    let mut command = Command::new("zstd");
    assert!(command.args(["-q", "-f", "--rm"]).arg(&whole).status().unwrap().success());
    let packed = fs::read(lab.path("whole.zst")).unwrap();
    assert!(packed.len() < MIB);
    packed
}

#[test_on(Reflink, Packers)]
fn reflink_an_import_stops_before_the_filesystem_is_full() {
    let filesystem = LoopFilesystem::ext4(100 << 20).unwrap();
    let lab = Lab::in_directory(filesystem.path().join("cache"));
    let packed = bomb(&lab, 200);
    let server = WebServer::start().unwrap();
    server.put("/bomb.raw.zst", WebFile::new(&packed[..]));
    server.put("/large.raw", WebFile::new(vec![7; 200 * MIB]));
    server.put("/endless.raw", WebFile::new(vec![7; 200 * MIB]).chunked());
    fs::write(lab.path("bomb.raw.zst"), &packed).unwrap();
    fs::write(lab.path("large.raw"), vec![7; 200 * MIB]).unwrap();
    let free = || {
        let space = rustix::fs::statvfs(filesystem.path()).unwrap();
        space.f_bavail * space.f_frsize
    };
    let before = free();
    let expected = Expected::Checksum("0".repeat(64).parse().unwrap());
    for request in [
        file(&lab.path("bomb.raw.zst")),
        file(&lab.path("bomb.raw.zst")).expected(expected.clone()),
        file(&lab.path("large.raw")),
        file(&lab.path("large.raw")).expected(expected),
        url(&server.url("/bomb.raw.zst")),
        url(&server.url("/large.raw")),
        url(&server.url("/endless.raw")),
    ] {
        let error = lab.import(&request).unwrap_err();
        match &error {
            // It was compared before it was unpacked.
            ImageError::Checksum { .. } => continue,
            ImageError::Import { source, .. } => match source {
                // A twentieth of it is 5 MiB.
                DiskError::AlmostFull { free_bytes, .. } => assert!(*free_bytes > 0, "{error:?}"),
                DiskError::NoRoom { needed_bytes, .. } => assert!(*needed_bytes > before),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        for name in ["bomb", "large", "endless"] {
            drop(lab.remove(name));
        }
        assert!(free() + (4 << 20) > before, "{request:?} left something");
        assert!(lab.entries().is_empty(), "{:?}", lab.entries());
    }
}

#[test_on(Packers, QemuImg)]
fn packers_an_image_is_no_larger_than_is_allowed() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let bytes = noise(2 * MIB);
    fs::write(lab.path("a.raw"), &bytes).unwrap();
    fs::write(lab.path("bomb.zst"), bomb(&lab, 64)).unwrap();
    // Of a few KiB, with a guest that sees more.
    let thin = lab.path("thin.qcow2");
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]).arg(&thin).arg("64M");
    assert!(command.status().unwrap().success());
    server.put("/a.raw", WebFile::new(&bytes[..]));
    server.put("/chunked.raw", WebFile::new(&bytes[..]).chunked());
    let expected = || Expected::Checksum(sha256(&bytes).parse().unwrap());
    for request in [
        file(&lab.path("a.raw")),
        file(&lab.path("a.raw")).expected(expected()),
        file(&lab.path("bomb.zst")),
        file(&thin),
        file(&thin).format(ImportFormat::Keep),
        url(&server.url("/a.raw")),
        url(&server.url("/chunked.raw")),
    ] {
        let error = lab.import(&request.clone().most_bytes(2 * MIB as u64 - 1)).unwrap_err();
        let too_large =
            matches!(&error, ImageError::Import { source: DiskError::TooLarge { .. }, .. });
        assert!(too_large, "{error:?}");
        assert!(!error.to_string().contains(".import-"), "{error}");
        assert_eq!(lab.entries(), Vec::<String>::new());
    }
    for request in [file(&lab.path("a.raw")), url(&server.url("/a.raw"))] {
        lab.import(&request.most_bytes(2 * MIB as u64)).unwrap();
        lab.remove("a").unwrap();
    }
}

#[test]
fn a_text_is_no_image_wherever_it_comes_from() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    server.put("/a.raw", WebFile::new("The page that you ask for has moved.\n"));
    for request in [file("/etc/passwd".as_ref()), url(&server.url("/a.raw"))] {
        let error = lab.import(&request).unwrap_err();
        let ImageError::Import { source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().ends_with("is a text file, not an image"), "{source}");
        assert_eq!(lab.entries(), Vec::<String>::new());
    }
}
