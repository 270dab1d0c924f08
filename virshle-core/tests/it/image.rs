//! The cache: imports from a real web server that misbehaves, and what stands on an image.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use virshle_core::disk::{BackingFile, allocated_bytes};
use virshle_core::{
    CoreError, CreateRequest, DownloadError, ErrorKind, Expected, Force, ImageInfo, ImageName,
    ImportFormat, ImportProgress, ImportRequest, ImportSource, ImportStep,
};
use virshle_testkit::{LoopFilesystem, WebFile, WebServer};
use virshle_testkit_macros::test_on;

use crate::lab::{DISK, LEAST, Lab};

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn file(path: &Path) -> ImportRequest {
    ImportRequest::new(ImportSource::File(path.to_owned()))
}

fn url(url: &str) -> ImportRequest {
    ImportRequest::new(url.parse().unwrap())
}

fn import(lab: &Lab, request: &ImportRequest) -> Result<ImageInfo, CoreError> {
    lab.node.import_image(request, &mut |_| {})
}

fn sha256(bytes: &[u8]) -> String {
    digest("sha256sum", bytes)
}

/// What a program of coreutils says of `bytes`.
fn digest(program: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), bytes).unwrap();
    let output = Command::new(program).arg("file").current_dir(folder.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Noise that no two parts of are the same, with zeros in between and at the end.
fn noise(length: usize) -> Vec<u8> {
    let mut seed = 1_u64;
    let mut bytes: Vec<u8> = (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[1]
        })
        .collect();
    bytes[length / 4..length / 2].fill(0);
    bytes[length - length / 8..].fill(0);
    bytes
}

/// What is in the cache, hidden or not.
fn cached(lab: &Lab) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(lab.node.cache())
        .map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

const MIB: usize = 1 << 20;

#[test]
fn an_image_of_this_host_is_taken_in_read_only_and_used_by_its_name() {
    let lab = Lab::new(&DISK.replace("path = \"{folder}/image.raw\"", "image = \"debian\""));
    let error = lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err();
    assert!(matches!(error, CoreError::NoSuchImage { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let source = lab.path("image.raw");
    let image = import(&lab, &file(&source).name(name("debian"))).unwrap();
    assert_eq!((image.name.as_str(), image.format.as_str()), ("debian", "raw"));
    assert_eq!((image.size, &image.path), (64 << 10, &lab.node.cache().join("debian")));
    assert_eq!(image.source.as_deref(), source.to_str());
    assert_eq!(image.sha256, None);
    assert!(image.imported.as_ref().unwrap().ends_with('Z'));
    let mode = fs::metadata(&image.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    assert_eq!(fs::read(&image.path).unwrap(), fs::read(&source).unwrap());
    assert_eq!(lab.node.image(&name("debian")).unwrap(), image);
    assert_eq!(lab.node.images().unwrap().images, [image]);
    assert_eq!(cached(&lab), [".record-debian.toml", "debian"]);

    let vm = lab.create("xs");
    assert_eq!(vm.definition().disks[0].size_bytes, 1 << 20);
    let mode = fs::metadata(vm.disk("os")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A copy does not need its image.
    lab.node.remove_image(&name("debian")).unwrap();
    assert_eq!(cached(&lab), Vec::<String>::new());
    let error = lab.node.remove_image(&name("debian")).unwrap_err();
    assert!(matches!(error, CoreError::NoSuchImage { .. }), "{error:?}");
}

#[test]
fn a_name_is_taken_once_and_names_are_never_paths() {
    let lab = Lab::new(LEAST);
    let source = lab.path("image.raw");
    import(&lab, &file(&source)).unwrap();
    let error = import(&lab, &file(&source)).unwrap_err();
    assert!(matches!(error, CoreError::ImageTaken { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::State);
    assert_eq!(cached(&lab), [".record-image.toml", "image"]);
    let odd = lab.path("a b.raw");
    fs::copy(&source, &odd).unwrap();
    let error = import(&lab, &file(&odd)).unwrap_err();
    assert!(matches!(error, CoreError::ImageName { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Usage);
    let error = import(&lab, &file(&lab.path("nothing.raw"))).unwrap_err();
    assert!(matches!(error, CoreError::Import { .. }), "{error:?}");
    assert_eq!(cached(&lab).len(), 2);
    // An image that somebody put there himself is one, too, of which less is known.
    fs::remove_file(lab.node.cache().join("image")).unwrap();
    fs::copy(&source, lab.node.cache().join("image")).unwrap();
    let image = lab.node.image(&name("image")).unwrap();
    assert_eq!((image.source, image.imported), (None, None));
}

#[test]
fn an_image_that_a_machine_stands_on_is_not_removed() {
    let disk =
        DISK.replace("path = \"{folder}/image.raw\"", "image = \"base\"\nclone = \"overlay\"");
    let lab = Lab::new(&disk);
    import(&lab, &file(&lab.path("image.raw")).name(name("base"))).unwrap();
    let vm = lab.create("xs");
    let refuse = |owner: &str| {
        let error = lab.node.remove_image(&name("base")).unwrap_err();
        let CoreError::ImageInUse { users, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*users, [owner]);
        assert_eq!(error.kind(), ErrorKind::State);
        assert_eq!(lab.node.image(&name("base")).unwrap().overlays, [owner]);
    };
    refuse(&format!("machine {}", vm.name()));
    // Its disks tell, if its definition doesn't.
    let path = vm.folder().join("vm.toml");
    let text = fs::read(&path).unwrap();
    fs::write(&path, "nonsense").unwrap();
    refuse(&format!("machine {}", vm.definition().uuid));
    fs::write(&path, text).unwrap();
    vm.remove(Force::No).unwrap();
    // One that names the image by its path, through a link.
    std::os::unix::fs::symlink(lab.node.cache().join("base"), lab.path("link")).unwrap();
    let node = lab.reconfigured(&disk.replace("image = \"base\"", "path = \"{folder}/link\""));
    let made = node.create(&CreateRequest::new("xs"), &|_| {}).unwrap().remove(0).unwrap();
    refuse(&format!("machine {}", made.name()));
    made.remove(Force::No).unwrap();
    lab.node.remove_image(&name("base")).unwrap();
}

#[test]
fn an_image_that_a_machine_is_being_made_of_is_not_removed() {
    let lab = Lab::new(&DISK.replace("path = \"{folder}/image.raw\"", "image = \"base\""));
    let image = import(&lab, &file(&lab.path("image.raw")).name(name("base"))).unwrap();
    let held = fs::File::open(&image.path).unwrap();
    // As one does who makes a machine, and as one does who removes the image.
    held.lock_shared().unwrap();
    let error = lab.node.remove_image(&name("base")).unwrap_err();
    assert!(matches!(error, CoreError::ImageInUse { .. }), "{error:?}");
    lab.create("xs");
    held.unlock().unwrap();
    held.lock().unwrap();
    let error = lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err();
    assert!(matches!(error, CoreError::Locked { .. }), "{error:?}");
    drop(held);
    lab.node.remove_image(&name("base")).unwrap();
}

#[test]
fn machines_and_their_image_come_and_go_at_once_and_none_stands_on_nothing() {
    let disk =
        DISK.replace("path = \"{folder}/image.raw\"", "image = \"base\"\nclone = \"overlay\"");
    let lab = Lab::new(&disk);
    let work = |index: u32| {
        if index.is_multiple_of(2) {
            // Whichever is refused: who comes too late is told so.
            drop(import(&lab, &file(&lab.path("image.raw")).name(name("base"))));
            drop(lab.node.remove_image(&name("base")));
            return;
        }
        for vm in lab.node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_or_default() {
            let Ok(vm) = vm else { continue };
            let backing = virshle_core::disk::inspect(&vm.disk("os")).unwrap().backing_file;
            assert!(backing.unwrap().exists());
            vm.remove(Force::No).unwrap();
        }
    };
    virshle_core::in_parallel((0..60).collect(), work);
}

#[test]
fn a_download_is_an_image_with_its_address_and_checksum() {
    let lab = Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    let bytes = noise(2 * MIB);
    server.put("/there/debian.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    server.put("/here", WebFile::moved(&server.url("/there/debian.raw")));
    let mut steps: Vec<ImportProgress> = Vec::new();
    let request = url(&server.url("/here?x=y")).name(name("debian"));
    server.put("/here?x=y", WebFile::moved(&server.url("/there/debian.raw")));
    let image = lab.node.import_image(&request, &mut |step| steps.push(step)).unwrap();
    assert_eq!(image.sha256, Some(sha256(&bytes)));
    assert_eq!(image.source, Some(server.url("/here?x=y")));
    assert!(fs::read(&image.path).unwrap() == bytes);
    assert!(image.allocated < 2 * MIB as u64 * 3 / 4, "{image:?}");
    assert_eq!(fs::metadata(&image.path).unwrap().permissions().mode() & 0o777, 0o444);
    let last = steps.last().unwrap();
    assert_eq!(last.step, ImportStep::Download);
    assert_eq!((last.done_bytes, last.total_bytes), (2 * MIB as u64, Some(2 * MIB as u64)));
    assert_eq!(cached(&lab), [".record-debian.toml", "debian"]);
    // In chunks, of unknown length.
    server.put("/chunked.img", WebFile::new(&bytes[..]).chunked());
    let image = import(&lab, &url(&server.url("/chunked.img"))).unwrap();
    assert_eq!((image.name.as_str(), image.sha256), ("chunked", Some(sha256(&bytes))));
    assert!(fs::read(&image.path).unwrap() == bytes);
}

#[test]
fn an_interrupted_download_goes_on_from_where_it_was() {
    let lab = Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    let bytes = noise(3 * MIB);
    let address = server.url("/a.raw");
    let expected = Expected::Checksum(sha256(&bytes).parse().unwrap());
    let request = url(&address).expected(expected);
    for (validated, file) in [
        ("\"1\"", WebFile::new(&bytes[..]).etag("\"1\"")),
        ("Wed, 25 Nov 2026 10:00:00 GMT", {
            WebFile::new(&bytes[..]).etag("W/\"1\"").last_modified("Wed, 25 Nov 2026 10:00:00 GMT")
        }),
    ] {
        // In the noise, in the zeros, near the end.
        for cut in [100_000, MIB, 2 * MIB] {
            server.put("/a.raw", file.clone().cut_after(cut));
            let error = import(&lab, &request).unwrap_err();
            let CoreError::Download { source, .. } = &error else { panic!("{error:?}") };
            assert!(matches!(source, DownloadError::CutShort { .. }), "{error:?}");
            assert!(error.hint().unwrap().contains("goes on"), "{error:?}");
            assert_eq!(cached(&lab), [".import-a"]);
            let unfinished = lab.node.images().unwrap().unfinished.remove(0);
            assert_eq!((unfinished.name.as_str(), &unfinished.source), ("a", &address));
            assert!(unfinished.done > 0 && unfinished.done <= cut as u64, "{unfinished:?}");
            server.take_requests();

            server.put("/a.raw", file.clone());
            let image = import(&lab, &request).unwrap();
            let asked = server.take_requests();
            assert_eq!(asked.len(), 1);
            assert_eq!(asked[0].range, Some(format!("bytes={}-", unfinished.done)));
            assert_eq!(asked[0].if_range.as_deref(), Some(validated));
            assert!(fs::read(&image.path).unwrap() == bytes);
            lab.node.remove_image(&name("a")).unwrap();
        }
    }
}

#[test]
fn what_cannot_go_on_begins_anew() {
    let lab = Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    let (old, new) = (noise(2 * MIB), vec![9; 2 * MIB]);
    let request = url(&server.url("/a.raw"));
    let half = || WebFile::new(&old[..]).etag("\"1\"").cut_after(MIB);
    for (first, second) in [
        // The server has no use for ranges; has another file; doesn't say which file it has.
        (half(), WebFile::new(&new[..]).etag("\"1\"").ignores_ranges()),
        (half(), WebFile::new(&new[..]).etag("\"2\"")),
        (half(), WebFile::new(&new[..])),
        (WebFile::new(&old[..]).cut_after(MIB), WebFile::new(&new[..])),
        // A part of another file, though that was not asked for; a shorter one.
        (half(), WebFile::new([&new[..], &[1; 512]].concat()).etag("\"1\"")),
        (half(), WebFile::new(&new[..4096]).etag("\"1\"")),
    ] {
        server.put("/a.raw", first);
        import(&lab, &request).unwrap_err();
        let expected = second.clone();
        server.put("/a.raw", second);
        let image = import(&lab, &request).unwrap();
        let found = fs::read(&image.path).unwrap();
        assert!(found[..4096].iter().all(|byte| *byte == 9), "{expected:?}");
        assert_eq!(image.sha256, Some(sha256(&found)));
        lab.node.remove_image(&name("a")).unwrap();
    }
    // Another address of the same name; one that is given up.
    server.put("/a.raw", half());
    import(&lab, &request).unwrap_err();
    server.put("/b/a.raw", WebFile::new(&new[..]).etag("\"1\""));
    let image = import(&lab, &url(&server.url("/b/a.raw"))).unwrap();
    assert!(fs::read(&image.path).unwrap() == new);
    lab.node.remove_image(&name("a")).unwrap();
    import(&lab, &request).unwrap_err();
    lab.node.remove_image(&name("a")).unwrap();
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[test]
fn what_came_whole_is_not_downloaded_again() {
    let lab = Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    // Somebody died when all was there.
    let folder = lab.node.cache().join(".import-a");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("download"), &bytes).unwrap();
    fs::write(folder.join("image.new-7"), "rubbish").unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let address = server.url("/a.raw");
    let state = |boot: &str, kept: usize| {
        let text = format!(
            "url = {address:?}\netag = '\"1\"'\ntotal_bytes = {MIB}\nboot_id = {boot:?}\nkept_bytes = {kept}\n"
        );
        fs::write(folder.join("download.toml"), text).unwrap();
    };
    state(boot.trim(), 0);
    let image = import(&lab, &url(&address)).unwrap();
    assert_eq!(server.take_requests()[0].range, Some(format!("bytes={}-", MIB - 1)));
    assert!(fs::read(&image.path).unwrap() == bytes);
    assert_eq!(cached(&lab), [".record-a.toml", "a"]);
    lab.node.remove_image(&name("a")).unwrap();
    // Of what was there when the host went down, only what was kept is believed.
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("download"), vec![0; MIB]).unwrap();
    state("another", 0);
    let image = import(&lab, &url(&address)).unwrap();
    assert_eq!(server.take_requests()[0].range, None);
    assert!(fs::read(&image.path).unwrap() == bytes);
}

#[test]
fn what_is_not_what_it_should_be_leaves_nothing() {
    let lab = Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    server.put("/page", WebFile::new(&b"<!DOCTYPE html><html>Please log in"[..]));
    server.put("/b.vmdk", WebFile::new([&b"KDMV"[..], &bytes].concat()));
    server.put("/endless", WebFile::new(&bytes[..]).unbounded());
    server.put("/gone", WebFile::status(410));
    let wrong = Expected::Checksum("0".repeat(64).parse().unwrap());
    let error = import(&lab, &url(&server.url("/a.raw")).expected(wrong.clone())).unwrap_err();
    assert!(matches!(error, CoreError::Checksum { .. }), "{error:?}");
    assert!(error.to_string().contains(&sha256(&bytes)), "{error}");
    let error = import(&lab, &file(&lab.path("image.raw")).expected(wrong)).unwrap_err();
    assert!(matches!(error, CoreError::Checksum { .. }), "{error:?}");
    for (path, word) in [
        ("/nothing.raw", "404"),
        ("/gone", "410"),
        ("/b.vmdk", "a VMDK"),
        ("/page", "a web page"),
        ("/endless", "how long"),
    ] {
        let error = import(&lab, &url(&server.url(path))).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(word), "{path}: {cause}");
        assert!(error.hint().is_some(), "{path}");
    }
    let error = import(&lab, &url(&server.url("/a.raw")).format(ImportFormat::Qcow2)).unwrap_err();
    assert!(matches!(error, CoreError::Import { .. }), "{error:?}");
    let nobody = import(&lab, &url("http://127.0.0.1:1/a.raw")).unwrap_err();
    assert!(matches!(nobody, CoreError::Download { .. }), "{nobody:?}");
    assert_eq!(cached(&lab), Vec::<String>::new());
    // What ends with the connection is believed if its checksum is right.
    let right = Expected::Checksum(sha256(&bytes).parse().unwrap());
    import(&lab, &url(&server.url("/endless")).expected(right.clone())).unwrap();
    lab.node.remove_image(&name("endless")).unwrap();
    server.put("/endless", WebFile::new(&bytes[..]).unbounded().cut_after(MIB / 2));
    let error = import(&lab, &url(&server.url("/endless")).expected(right)).unwrap_err();
    assert!(matches!(error, CoreError::Checksum { .. }), "{error:?}");
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[test]
fn a_silent_server_is_not_waited_for_longer_than_said() {
    let lab = Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\"").stall_after(MIB / 8));
    let request = url(&server.url("/a.raw")).silence(Duration::from_millis(100));
    let error = import(&lab, &request).unwrap_err();
    let CoreError::Download { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(source, DownloadError::Silent { .. }), "{error:?}");
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    let image = import(&lab, &request).unwrap();
    assert!(fs::read(&image.path).unwrap() == bytes);
    let ranges: Vec<_> = server.take_requests().into_iter().map(|asked| asked.range).collect();
    assert_eq!(ranges, [None, Some(format!("bytes={}-", MIB / 8))]);
}

#[test]
fn one_imports_an_image_and_others_are_told_who() {
    let lab = &Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    server.put("/a.raw", WebFile::new(noise(MIB)).etag("\"1\"").stall_after(MIB / 8));
    let request = &url(&server.url("/a.raw")).silence(Duration::from_secs(20));
    std::thread::scope(|scope| {
        let first = scope.spawn(move || import(lab, request));
        server.wait_for_stall();
        let error = import(lab, request).unwrap_err();
        assert!(matches!(error, CoreError::Locked { .. }), "{error:?}");
        let error = lab.node.remove_image(&name("a")).unwrap_err();
        assert!(matches!(error, CoreError::Locked { .. }), "{error:?}");
        drop(server);
        first.join().unwrap().unwrap_err();
    });
    assert_eq!(cached(lab), [".import-a"]);
}

#[test]
fn checksums_are_looked_up_in_lists() {
    let lab = Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/x/a.raw", WebFile::new(&bytes[..]));
    let list = format!("{}  b.raw\n{} *a.raw\n", "0".repeat(64), sha256(&bytes));
    server.put("/x/SHA256SUMS", WebFile::new(list.clone()));
    let sha512 = digest("sha512sum", &bytes);
    server.put("/x/SHA512SUMS", WebFile::new(format!("{sha512}  a.raw\n")));
    server.put("/x/OTHER", WebFile::new(format!("{}  b.raw\n", sha256(&bytes))));
    server.put("/x/LONG", WebFile::new(vec![b'x'; 5 << 20]));
    fs::write(lab.path("sums"), &list).unwrap();
    let with = |list: &str| {
        let listed = Expected::Listed(list.parse().unwrap());
        import(&lab, &url(&server.url("/x/a.raw")).expected(listed))
    };
    for list in [
        server.url("/x/SHA256SUMS"),
        server.url("/x/SHA512SUMS"),
        lab.path("sums").display().to_string(),
    ] {
        assert_eq!(with(&list).unwrap().sha256, Some(sha256(&bytes)), "{list}");
        lab.node.remove_image(&name("a")).unwrap();
    }
    let error = with(&server.url("/x/OTHER")).unwrap_err();
    assert!(matches!(error, CoreError::Unlisted { .. }), "{error:?}");
    let error = with(&server.url("/x/LONG")).unwrap_err();
    assert!(matches!(error, CoreError::Download { .. }), "{error:?}");
    let error = with(&server.url("/x/nothing")).unwrap_err();
    assert!(matches!(error, CoreError::Download { .. }), "{error:?}");
    let error = with(lab.path("nothing").to_str().unwrap()).unwrap_err();
    assert!(matches!(error, CoreError::Read { .. }), "{error:?}");
    // Nothing was downloaded before the list was read.
    assert_eq!(cached(&lab), Vec::<String>::new());
}

fn run(program: &str, words: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    output.stdout
}

#[test_on(QemuImg, Packers)]
fn a_stock_image_is_unpacked_and_converted_or_kept_as_asked() {
    let lab = Lab::new(LEAST);
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
        let image = import(&lab, &url(&server.url(path))).unwrap();
        assert_eq!((image.name.as_str(), image.format.as_str()), ("a", "raw"));
        assert!(fs::read(&image.path).unwrap() == bytes);
        assert!(allocated_bytes(&image.path).unwrap() < 2 * MIB as u64 * 3 / 4);
        if path.ends_with("xz") {
            // Of what was downloaded, not of what became of it.
            assert_eq!(image.sha256, Some(sha256(&packed)));
        }
        lab.node.remove_image(&name("a")).unwrap();
        for format in [ImportFormat::Keep, ImportFormat::Qcow2] {
            let image = import(&lab, &url(&server.url(path)).format(format)).unwrap();
            assert_eq!(image.format, "qcow2");
            assert!(fs::read(&image.path).unwrap() == fs::read(at("a.qcow2")).unwrap());
            lab.node.remove_image(&name("a")).unwrap();
        }
    }
    // A truncated one, though its server does not know.
    server.put("/short.xz", WebFile::new(&packed[..packed.len() / 2]));
    let error = import(&lab, &url(&server.url("/short.xz"))).unwrap_err();
    assert!(matches!(error, CoreError::Import { .. }), "{error:?}");
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[test_on(QemuImg)]
fn a_backing_file_is_followed_on_this_host_only_and_only_when_told() {
    let lab = Lab::new(LEAST);
    let server = WebServer::start().unwrap();
    let top = lab.path("top.qcow2");
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-b", "image.raw", "-F", "raw", top.to_str().unwrap()],
    );
    let error = import(&lab, &file(&top)).unwrap_err();
    assert!(error.hint().is_some(), "{error:?}");
    let image = import(&lab, &file(&top).backing_file(BackingFile::Follow)).unwrap();
    assert_eq!(fs::read(image.path).unwrap(), fs::read(lab.path("image.raw")).unwrap());
    lab.node.remove_image(&name("top")).unwrap();
    server.put("/top", WebFile::new(fs::read(&top).unwrap()));
    for format in [ImportFormat::Raw, ImportFormat::Keep] {
        let request = url(&server.url("/top")).format(format);
        let error = import(&lab, &request.backing_file(BackingFile::Follow)).unwrap_err();
        assert!(matches!(error, CoreError::Import { .. }), "{error:?}");
    }
    assert_eq!(cached(&lab), Vec::<String>::new());
}

#[test_on(Reflink, Packers)]
fn reflink_or_not_a_full_disk_leaves_no_image() {
    let lab = Lab::new(LEAST);
    let filesystem = LoopFilesystem::ext4(32 << 20).unwrap();
    fs::create_dir_all(lab.path("root")).unwrap();
    std::os::unix::fs::symlink(filesystem.path(), lab.node.cache()).unwrap();
    let others = cached(&lab);
    let left = || -> Vec<String> {
        cached(&lab).into_iter().filter(|name| !others.contains(name)).collect()
    };
    let server = WebServer::start().unwrap();
    let bytes: Vec<u8> = (0..40 << 20).map(|at: u32| at.to_be_bytes()[2] | 1).collect();
    // Known beforehand, and not: when it comes in chunks, when it is unpacked.
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    let error = import(&lab, &url(&server.url("/a.raw"))).unwrap_err();
    assert!(error.hint().unwrap().contains("room"), "{error:?}");
    assert_eq!(left(), Vec::<String>::new());
    server.put("/b.raw", WebFile::new(&bytes[..]).chunked().etag("\"1\""));
    let error = import(&lab, &url(&server.url("/b.raw"))).unwrap_err();
    assert!(matches!(error, CoreError::Write { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("room"), "{error:?}");
    assert_eq!(left(), [".import-b"]);
    lab.node.remove_image(&name("b")).unwrap();
    fs::write(lab.path("c.raw"), &bytes).unwrap();
    let packed = run("zstd", &["-q", "-c", lab.path("c.raw").to_str().unwrap()]);
    server.put("/c.zst", WebFile::new(&packed[..]).etag("\"1\""));
    let error = import(&lab, &url(&server.url("/c.zst"))).unwrap_err();
    assert!(matches!(error, CoreError::Import { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("room"), "{error:?}");
    // What was downloaded is not downloaded again when there is room.
    assert_eq!(left(), [".import-c"]);
    let error = import(&lab, &file(&lab.path("c.raw"))).unwrap_err();
    assert!(matches!(error, CoreError::Import { .. }), "{error:?}");
    assert_eq!(left(), [".import-c"]);
    assert_eq!(fs::metadata(lab.path("c.raw")).unwrap().size(), 40 << 20);
}
