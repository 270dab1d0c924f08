//! Imports: whole or not at all, in the format that was asked for.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use virshle_image::disk::{BackingFile, DiskError, allocated_bytes};
use virshle_image::{Expected, ImageError, ImportFormat};
use virshle_testkit::{FuseFilesystem, LoopFilesystem, WebFile, WebServer};
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, MIB, file, name, noise, run, sha256, url};

#[test]
fn an_image_of_this_host_becomes_read_only_under_its_name() {
    let lab = Lab::new();
    let error = lab.cache.existing(&name("debian")).unwrap_err();
    assert!(matches!(error, ImageError::NoSuchImage { .. }), "{error:?}");
    let source = lab.path("image.raw");
    let request = file(&source).name(name("debian"));
    assert_eq!(lab.cache.check_import(&request).unwrap(), name("debian"));
    assert!(!lab.cache.directory().exists());
    let image = lab.import(&request).unwrap();
    assert_eq!((image.name.as_str(), image.format.as_str()), ("debian", "raw"));
    assert_eq!((image.size, &image.path), (64 << 10, &lab.cache.path(&name("debian"))));
    assert_eq!(image.source.as_deref(), source.to_str());
    assert_eq!(image.sha256, None);
    assert!(image.imported.as_ref().unwrap().ends_with('Z'));
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(image.path.as_path()), mode(lab.cache.directory())), (0o444, 0o750));
    assert_eq!(fs::read(&image.path).unwrap(), fs::read(&source).unwrap());
    assert_eq!(lab.cache.existing(&name("debian")).unwrap(), image.path);
    assert_eq!(lab.cache.info(&name("debian"), &[]).unwrap(), image);
    assert_eq!(lab.cache.list(&[]).unwrap().images, [image]);
    assert_eq!(lab.entries(), [".record-debian.toml", "debian"]);
    lab.remove("debian").unwrap();
    assert_eq!(lab.entries(), Vec::<String>::new());
    let error = lab.remove("debian").unwrap_err();
    assert!(matches!(error, ImageError::NoSuchImage { .. }), "{error:?}");
}

#[test]
fn a_name_is_taken_once_and_names_are_never_paths() {
    let lab = Lab::new();
    let source = lab.path("image.raw");
    lab.import(&file(&source)).unwrap();
    let error = lab.import(&file(&source)).unwrap_err();
    assert!(matches!(error, ImageError::ImageTaken { .. }), "{error:?}");
    assert_eq!(error.code(), "image-taken");
    assert_eq!(lab.entries(), [".record-image.toml", "image"]);
    let odd = lab.path("a b.raw");
    fs::copy(&source, &odd).unwrap();
    let error = lab.import(&file(&odd)).unwrap_err();
    assert!(matches!(error, ImageError::ImageName { .. }), "{error:?}");
    assert_eq!(error.code(), "name-invalid");
    let error = lab.import(&file(&lab.path("nothing.raw"))).unwrap_err();
    assert!(matches!(error, ImageError::Import { .. }), "{error:?}");
    assert_eq!(lab.entries().len(), 2);
    // A file that the user put there is an image, too, of which less is known.
    fs::remove_file(lab.cache.path(&name("image"))).unwrap();
    fs::copy(&source, lab.cache.path(&name("image"))).unwrap();
    let image = lab.cache.info(&name("image"), &[]).unwrap();
    assert_eq!((image.source, image.imported), (None, None));
}

#[test]
fn a_file_that_is_not_an_image_hides_no_other() {
    let lab = Lab::new();
    lab.import(&file(&lab.path("image.raw"))).unwrap();
    fs::write(lab.cache.directory().join("notes.gz"), b"\x1f\x8b\x08 and more").unwrap();
    let listing = lab.cache.list(&[]).unwrap();
    assert_eq!(listing.images.len(), 1);
    assert_eq!(listing.broken[0].code(), "image-unfit");
    assert!(listing.broken[0].to_string().contains("notes.gz"), "{:?}", listing.broken);
}

#[test]
fn what_is_not_what_it_should_be_leaves_nothing() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    server.put("/page", WebFile::new(&b"<!DOCTYPE html><html>Please log in"[..]));
    server.put("/b.vmdk", WebFile::new([&b"KDMV"[..], &bytes].concat()));
    server.put("/endless", WebFile::new(&bytes[..]).unbounded());
    server.put("/gone", WebFile::status(410));
    let wrong = Expected::Checksum("0".repeat(64).parse().unwrap());
    let error = lab.import(&url(&server.url("/a.raw")).expected(wrong.clone())).unwrap_err();
    assert!(matches!(error, ImageError::Checksum { .. }), "{error:?}");
    assert!(error.to_string().contains(&sha256(&bytes)), "{error}");
    let error = lab.import(&file(&lab.path("image.raw")).expected(wrong)).unwrap_err();
    assert!(matches!(error, ImageError::Checksum { .. }), "{error:?}");
    for (path, text) in [
        ("/nothing.raw", "404"),
        ("/gone", "410"),
        ("/b.vmdk", "a VMDK"),
        ("/page", "a web page"),
        ("/endless", "no Content-Length"),
    ] {
        let error = lab.import(&url(&server.url(path))).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(text), "{path}: {cause}");
        assert!(error.hint().is_some(), "{path}");
    }
    let error = lab.import(&url(&server.url("/a.raw")).format(ImportFormat::Qcow2)).unwrap_err();
    assert!(matches!(error, ImageError::Import { .. }), "{error:?}");
    let unreachable = lab.import(&url("http://127.0.0.1:1/a.raw")).unwrap_err();
    assert!(matches!(unreachable, ImageError::Download { .. }), "{unreachable:?}");
    assert_eq!(lab.entries(), Vec::<String>::new());
    // What ends with the connection is believed if its checksum is right.
    let right = Expected::Checksum(sha256(&bytes).parse().unwrap());
    lab.import(&url(&server.url("/endless")).expected(right.clone())).unwrap();
    lab.remove("endless").unwrap();
    server.put("/endless", WebFile::new(&bytes[..]).unbounded().cut_after(MIB / 2));
    let error = lab.import(&url(&server.url("/endless")).expected(right)).unwrap_err();
    assert!(matches!(error, ImageError::Checksum { .. }), "{error:?}");
    assert_eq!(lab.entries(), Vec::<String>::new());
}

#[test_on(QemuImg, Packers)]
fn a_stock_image_is_decompressed_and_converted_or_kept_as_asked() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let bytes = noise(2 * MIB);
    let at = |name: &str| -> PathBuf { lab.path(name) };
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    fs::write(at("a.raw"), &bytes).unwrap();
    run("qemu-img", &["convert", "-c", "-O", "qcow2", &text("a.raw"), &text("a.qcow2")]);
    let packed = run("xz", &["-1", "-c", &text("a.qcow2")]);
    server.put("/a.qcow2.xz", WebFile::new(&packed[..]));
    server.put("/a.qcow2", WebFile::new(fs::read(at("a.qcow2")).unwrap()));
    for path in ["/a.qcow2.xz", "/a.qcow2"] {
        let image = lab.import(&url(&server.url(path))).unwrap();
        assert_eq!((image.name.as_str(), image.format.as_str()), ("a", "raw"));
        assert!(fs::read(&image.path).unwrap() == bytes);
        assert!(allocated_bytes(&image.path).unwrap() < 2 * MIB as u64 * 3 / 4);
        if path.ends_with("xz") {
            // Of what was downloaded, not of what became of it.
            assert_eq!(image.sha256, Some(sha256(&packed)));
        }
        lab.remove("a").unwrap();
        for format in [ImportFormat::Keep, ImportFormat::Qcow2] {
            let image = lab.import(&url(&server.url(path)).format(format)).unwrap();
            assert_eq!(image.format, "qcow2");
            assert!(fs::read(&image.path).unwrap() == fs::read(at("a.qcow2")).unwrap());
            lab.remove("a").unwrap();
        }
    }
    // A truncated one, though its server does not know.
    server.put("/short.xz", WebFile::new(&packed[..packed.len() / 2]));
    let error = lab.import(&url(&server.url("/short.xz"))).unwrap_err();
    assert!(matches!(error, ImageError::Import { .. }), "{error:?}");
    assert_eq!(lab.entries(), Vec::<String>::new());
}

#[test_on(QemuImg)]
fn a_backing_file_is_followed_on_this_host_only_and_only_when_asked() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let top = lab.path("top.qcow2");
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", "image.raw", "-F", "raw", top.to_str().unwrap()],
    );
    let error = lab.import(&file(&top)).unwrap_err();
    assert!(error.hint().is_some(), "{error:?}");
    let image = lab.import(&file(&top).backing_file(BackingFile::Follow)).unwrap();
    assert_eq!(fs::read(image.path).unwrap(), fs::read(lab.path("image.raw")).unwrap());
    lab.remove("top").unwrap();
    server.put("/top", WebFile::new(fs::read(&top).unwrap()));
    for format in [ImportFormat::Raw, ImportFormat::Keep] {
        let request = url(&server.url("/top")).format(format);
        let error = lab.import(&request.backing_file(BackingFile::Follow)).unwrap_err();
        assert!(matches!(error, ImageError::Import { .. }), "{error:?}");
    }
    assert_eq!(lab.entries(), Vec::<String>::new());
}

#[test_on(Reflink, Packers)]
fn reflink_or_not_a_full_disk_leaves_no_image() {
    let lab = Lab::new();
    let filesystem = LoopFilesystem::ext4(32 << 20).unwrap();
    fs::create_dir_all(lab.path("root")).unwrap();
    std::os::unix::fs::symlink(filesystem.path(), lab.cache.directory()).unwrap();
    let others = lab.entries();
    let left = || -> Vec<String> {
        lab.entries().into_iter().filter(|name| !others.contains(name)).collect()
    };
    let server = WebServer::start().unwrap();
    let bytes: Vec<u8> = (0..40 << 20).map(|at: u32| at.to_be_bytes()[2] | 1).collect();
    // Known beforehand, and not: when it comes in chunks, when it is unpacked.
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    let error = lab.import(&url(&server.url("/a.raw"))).unwrap_err();
    assert!(error.hint().unwrap().contains("room"), "{error:?}");
    assert_eq!(left(), Vec::<String>::new());
    server.put("/b.raw", WebFile::new(&bytes[..]).chunked().etag("\"1\""));
    let error = lab.import(&url(&server.url("/b.raw"))).unwrap_err();
    // Before it is full.
    let almost = |source: &DiskError| matches!(source, DiskError::AlmostFull { .. });
    assert!(matches!(&error, ImageError::Import { source, .. } if almost(source)), "{error:?}");
    assert!(error.hint().unwrap().contains("room"), "{error:?}");
    assert_eq!(left(), [".import-b"]);
    lab.remove("b").unwrap();
    fs::write(lab.path("c.raw"), &bytes).unwrap();
    let packed = run("zstd", &["-q", "-c", lab.path("c.raw").to_str().unwrap()]);
    server.put("/c.zst", WebFile::new(&packed[..]).etag("\"1\""));
    let error = lab.import(&url(&server.url("/c.zst"))).unwrap_err();
    assert!(matches!(error, ImageError::Import { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("room"), "{error:?}");
    // What was downloaded is not downloaded again when there is room.
    assert_eq!(left(), [".import-c"]);
    let error = lab.import(&file(&lab.path("c.raw"))).unwrap_err();
    assert!(matches!(error, ImageError::Import { .. }), "{error:?}");
    assert_eq!(left(), [".import-c"]);
    assert_eq!(fs::metadata(lab.path("c.raw")).unwrap().size(), 40 << 20);
}

/// Regression: what pzstd had packed was imported as a raw image of compressed bytes.
#[test_on(Packers)]
fn what_is_named_as_compressed_is_unpacked_or_refused() {
    let lab = Lab::new();
    let (raw, packed) = (lab.path("image.raw"), lab.path("packed.raw.zst"));
    run("pzstd", &["-q", raw.to_str().unwrap(), "-o", packed.to_str().unwrap()]);
    let image = lab.import(&file(&packed)).unwrap();
    assert_eq!(image.name, "packed");
    assert!(fs::read(&image.path).unwrap() == fs::read(&raw).unwrap());
    let before = lab.entries();
    // brotli's files have no mark; these have never been packed.
    for suffix in ["br", "gz", "ZST", "lz4", "7z"] {
        let source = lab.path(&format!("disk.raw.{suffix}"));
        fs::copy(&raw, &source).unwrap();
        let error = lab.import(&file(&source).name(name("disk"))).unwrap_err();
        assert!(matches!(error, ImageError::Misnamed { .. }), "{error:?}");
        assert_eq!(error.code(), "import-failed");
        assert!(error.hint().unwrap().contains("rename"), "{error:?}");
        fs::write(&source, [4, 0x22, 0x4d, 0x18, 1, 2, 3, 4, 5]).unwrap();
        let error = lab.import(&file(&source).name(name("disk"))).unwrap_err();
        assert!(error.hint().unwrap().contains("unlz4"), "{error:?}");
        assert_eq!(lab.entries(), before);
    }
}

/// Regression: nothing could be imported on filesystems without renames that replace nothing, and
/// what was prepared was left behind (the directory of its lock, which was still open).
#[test_on(Fuse, Packers)]
fn fuse_an_import_is_whole_and_leaves_nothing_behind() {
    let filesystem = FuseFilesystem::mount().unwrap();
    let lab = Lab::in_directory(filesystem.path().join("cache"));
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/web.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    let packed = lab.path("packed.raw.zst");
    run("zstd", &["-q", lab.path("image.raw").to_str().unwrap(), "-o", packed.to_str().unwrap()]);
    for request in [file(&lab.path("image.raw")), file(&packed), url(&server.url("/web.raw"))] {
        let image = lab.import(&request).unwrap();
        assert_eq!(lab.entries().len(), 2, "{:?}", lab.entries());
        let again = lab.import(&request).unwrap_err();
        assert!(matches!(again, ImageError::ImageTaken { .. }), "{again:?}");
        assert_eq!(lab.entries().len(), 2, "{:?}", lab.entries());
        lab.remove(&image.name).unwrap();
        assert_eq!(lab.entries(), Vec::<String>::new());
    }
    // One that fails, and one that is resumed.
    let wrong = Expected::Checksum("0".repeat(64).parse().unwrap());
    let error = lab.import(&url(&server.url("/web.raw")).expected(wrong)).unwrap_err();
    assert!(matches!(error, ImageError::Checksum { .. }), "{error:?}");
    assert_eq!(lab.entries(), Vec::<String>::new());
    server.put("/web.raw", WebFile::new(&bytes[..]).etag("\"1\"").cut_after(100_000));
    lab.import(&url(&server.url("/web.raw"))).unwrap_err();
    assert_eq!(lab.entries(), [".import-web"]);
    server.put("/web.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    let image = lab.import(&url(&server.url("/web.raw"))).unwrap();
    assert!(fs::read(&image.path).unwrap() == bytes);
    assert_eq!(lab.entries(), [".record-web.toml", "web"]);
}

#[test]
fn what_a_killed_import_left_beside_its_image_goes() {
    let lab = Lab::new();
    let request = file(&lab.path("image.raw")).name(name("debian"));
    let left = lab.cache.directory().join(".import-debian");
    let leave = || {
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        fs::write(left.join("download"), [7; 100]).unwrap();
    };
    // Without the image it is an import that can be resumed.
    leave();
    assert_eq!(lab.cache.leftovers().unwrap(), []);
    lab.cache.remove_leftover(&name("debian")).unwrap();
    assert!(left.join("download").exists());
    lab.import(&request).unwrap();
    assert_eq!(lab.entries(), [".record-debian.toml", "debian"]);

    leave();
    assert_eq!(lab.cache.leftovers().unwrap(), [(name("debian"), left.clone())]);
    // While an import uses it, it is none.
    let lock = fs::File::open(left.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(lab.cache.leftovers().unwrap(), []);
    let error = lab.cache.remove_leftover(&name("debian")).unwrap_err();
    assert!(matches!(error, ImageError::Locked { .. }), "{error:?}");
    drop(lock);
    lab.cache.remove_leftover(&name("debian")).unwrap();
    assert_eq!(lab.entries(), [".record-debian.toml", "debian"]);

    // The same import, given again, removes it as well.
    leave();
    let error = lab.import(&request).unwrap_err();
    assert!(matches!(error, ImageError::ImageTaken { .. }), "{error:?}");
    assert_eq!(lab.entries(), [".record-debian.toml", "debian"]);
}
