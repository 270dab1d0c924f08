//! Files of pinned releases, from a real web server that misbehaves, and from a directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use virshle_image::{DownloadError, ImageError, ImportSource, Installed, PinnedFile};
use virshle_testkit::{WebFile, WebServer};

use crate::lab::{MIB, noise, sha256};

fn pinned(source: &str, bytes: &[u8]) -> PinnedFile {
    PinnedFile::new(source.parse().unwrap(), sha256(bytes).parse().unwrap())
        .mode(0o755)
        .silence(Duration::from_secs(5))
}

fn install(file: &PinnedFile, path: &Path) -> Result<Installed, ImageError> {
    file.install(path, &mut |_| {})
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_put_in_its_place_whole_and_only_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root/bin/program");
    let server = WebServer::start().unwrap();
    let bytes = noise(2 * MIB);
    server.put("/program-static", WebFile::new(&bytes[..]).etag("\"1\""));
    let file = pinned(&server.url("/program-static"), &bytes);
    assert!(!file.is_at(&path).unwrap());
    assert_eq!(install(&file, &path).unwrap(), Installed::New);
    assert!(fs::read(&path).unwrap() == bytes);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(entries(path.parent().unwrap()), ["program"]);
    server.take_requests();
    // Nothing is asked for again; a mode that someone changed is mended.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(install(&file, &path).unwrap(), Installed::Already);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(server.take_requests(), []);
    // One of an earlier release is replaced, and who has it open keeps it.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "old").unwrap();
    let mut open = fs::File::open(&path).unwrap();
    assert_eq!(install(&file, &path).unwrap(), Installed::New);
    assert!(fs::read(&path).unwrap() == bytes);
    let mut old = String::new();
    std::io::Read::read_to_string(&mut open, &mut old).unwrap();
    assert_eq!(old, "old");
}

#[test]
fn another_file_is_refused_and_the_old_one_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    fs::write(&path, "old").unwrap();
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    let file = pinned(&server.url("/program"), &bytes);
    let mut other = bytes.clone();
    other[7] ^= 1;
    // Of the same length; cut short by its server, which says so; an error page.
    for served in [WebFile::new(&other[..]), WebFile::new(&bytes[..MIB / 2]), WebFile::new("no")] {
        server.put("/program", served);
        let error = install(&file, &path).unwrap_err();
        assert!(matches!(error, ImageError::Checksum { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(directory.path()), ["program"]);
    }
    for status in [404, 403, 500] {
        server.put("/program", WebFile::status(status));
        let error = install(&file, &path).unwrap_err();
        assert!(matches!(error, ImageError::Download { .. }), "{error:?}");
        assert_eq!(entries(directory.path()), ["program"]);
    }
    drop(server);
    let error = install(&file, &path).unwrap_err();
    let ImageError::Download { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(source, DownloadError::Ask { .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn a_server_that_went_down_midway_is_asked_for_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    let server = WebServer::start().unwrap();
    let bytes = noise(2 * MIB);
    let file = pinned(&server.url("/program"), &bytes);
    for cut in [100_000, MIB] {
        server.put("/program", WebFile::new(&bytes[..]).etag("\"1\"").cut_after(cut));
        let error = install(&file, &path).unwrap_err();
        let ImageError::Download { source, .. } = &error else { panic!("{error:?}") };
        assert!(matches!(source, DownloadError::CutShort { .. }), "{error:?}");
        assert!(!path.exists());
        assert_eq!(entries(directory.path()), [".import-program"]);
        server.take_requests();
        server.put("/program", WebFile::new(&bytes[..]).etag("\"1\""));
        assert_eq!(install(&file, &path).unwrap(), Installed::New);
        let asked = server.take_requests();
        assert!(asked.len() == 1 && asked[0].range.is_some(), "{asked:?}");
        assert!(fs::read(&path).unwrap() == bytes);
        assert_eq!(entries(directory.path()), ["program"]);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_file_of_this_host_is_copied_and_compared() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("program-static");
    let path = directory.path().join("bin/program");
    let bytes = noise(MIB);
    fs::write(&source, &bytes).unwrap();
    let file = pinned(source.to_str().unwrap(), &bytes);
    assert_eq!(install(&file, &path).unwrap(), Installed::New);
    assert!(fs::read(&path).unwrap() == bytes && fs::read(&source).unwrap() == bytes);
    fs::write(&source, "another").unwrap();
    fs::remove_file(&path).unwrap();
    let error = install(&file, &path).unwrap_err();
    assert!(matches!(error, ImageError::Checksum { .. }), "{error:?}");
    let absent = PinnedFile::new(
        ImportSource::File(directory.path().join("absent")),
        sha256(&bytes).parse().unwrap(),
    );
    assert!(matches!(install(&absent, &path).unwrap_err(), ImageError::Read { .. }));
    assert_eq!(entries(path.parent().unwrap()), Vec::<String>::new());
}

#[test]
fn what_is_in_the_place_is_never_followed_out_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (source, other) = (directory.path().join("source"), directory.path().join("other"));
    let path = directory.path().join("bin/program");
    let bytes = noise(MIB / 4);
    fs::write(&source, &bytes).unwrap();
    fs::write(&other, "untouched").unwrap();
    fs::create_dir(directory.path().join("bin")).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    let file = pinned(source.to_str().unwrap(), &bytes);
    assert_eq!(install(&file, &path).unwrap(), Installed::New);
    assert!(path.symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(&other).unwrap(), b"untouched");
    // A directory is not replaced.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(install(&file, &path).unwrap_err(), ImageError::Write { .. }));
    assert!(path.is_dir());
}
