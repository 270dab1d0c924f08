//! Downloads from a real web server that misbehaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use virshle_image::{DownloadError, Expected, ImageError, ImportProgress, ImportStep};
use virshle_testkit::{TestAuthority, WebFile, WebServer};
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, MIB, name, noise, sha256, url};

#[test]
fn a_download_is_an_image_with_its_address_and_checksum() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let bytes = noise(2 * MIB);
    server.put("/there/debian.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    server.put("/here", WebFile::moved(&server.url("/there/debian.raw")));
    let mut steps: Vec<ImportProgress> = Vec::new();
    let request = url(&server.url("/here?x=y")).name(name("debian"));
    server.put("/here?x=y", WebFile::moved(&server.url("/there/debian.raw")));
    let image = lab.cache.import(&request, &mut |step| steps.push(step)).unwrap();
    assert_eq!(image.sha256, Some(sha256(&bytes)));
    assert_eq!(image.source, Some(server.url("/here?x=y")));
    assert!(fs::read(&image.path).unwrap() == bytes);
    assert!(image.allocated < 2 * MIB as u64 * 3 / 4, "{image:?}");
    assert_eq!(fs::metadata(&image.path).unwrap().permissions().mode() & 0o777, 0o444);
    let last = steps.last().unwrap();
    assert_eq!(last.step, ImportStep::Download);
    assert_eq!((last.done_bytes, last.total_bytes), (2 * MIB as u64, Some(2 * MIB as u64)));
    assert_eq!(lab.entries(), [".record-debian.toml", "debian"]);
    // In chunks, of unknown length.
    server.put("/chunked.img", WebFile::new(&bytes[..]).chunked());
    let image = lab.import(&url(&server.url("/chunked.img"))).unwrap();
    assert_eq!((image.name.as_str(), image.sha256), ("chunked", Some(sha256(&bytes))));
    assert!(fs::read(&image.path).unwrap() == bytes);
}

#[test]
fn an_interrupted_download_resumes_where_it_was() {
    let lab = Lab::new();
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
            let error = lab.import(&request).unwrap_err();
            let ImageError::Download { source, .. } = &error else { panic!("{error:?}") };
            assert!(matches!(source, DownloadError::CutShort { .. }), "{error:?}");
            assert!(error.hint().unwrap().contains("resumes"), "{error:?}");
            assert_eq!(lab.entries(), [".import-a"]);
            let unfinished = lab.cache.list(&[]).unwrap().unfinished.remove(0);
            assert_eq!((unfinished.name.as_str(), &unfinished.source), ("a", &address));
            assert!(unfinished.done > 0 && unfinished.done <= cut as u64, "{unfinished:?}");
            server.take_requests();

            server.put("/a.raw", file.clone());
            let image = lab.import(&request).unwrap();
            let asked = server.take_requests();
            assert_eq!(asked.len(), 1);
            assert_eq!(asked[0].range, Some(format!("bytes={}-", unfinished.done)));
            assert_eq!(asked[0].if_range.as_deref(), Some(validated));
            assert!(fs::read(&image.path).unwrap() == bytes);
            lab.remove("a").unwrap();
        }
    }
}

#[test]
fn what_cannot_resume_begins_anew() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let (old, new) = (noise(2 * MIB), vec![9; 2 * MIB]);
    let request = url(&server.url("/a.raw"));
    let half = || WebFile::new(&old[..]).etag("\"1\"").cut_after(MIB);
    for (first, second) in [
        // The server ignores ranges; has another file; does not identify its file.
        (half(), WebFile::new(&new[..]).etag("\"1\"").ignores_ranges()),
        (half(), WebFile::new(&new[..]).etag("\"2\"")),
        (half(), WebFile::new(&new[..])),
        (WebFile::new(&old[..]).cut_after(MIB), WebFile::new(&new[..])),
        // A part of another file, though that was not asked for; a shorter one.
        (half(), WebFile::new([&new[..], &[1; 512]].concat()).etag("\"1\"")),
        (half(), WebFile::new(&new[..4096]).etag("\"1\"")),
    ] {
        server.put("/a.raw", first);
        lab.import(&request).unwrap_err();
        let expected = second.clone();
        server.put("/a.raw", second);
        let image = lab.import(&request).unwrap();
        let found = fs::read(&image.path).unwrap();
        assert!(found[..4096].iter().all(|byte| *byte == 9), "{expected:?}");
        assert_eq!(image.sha256, Some(sha256(&found)));
        lab.remove("a").unwrap();
    }
    // Another address of the same name; one that is given up.
    server.put("/a.raw", half());
    lab.import(&request).unwrap_err();
    server.put("/b/a.raw", WebFile::new(&new[..]).etag("\"1\""));
    let image = lab.import(&url(&server.url("/b/a.raw"))).unwrap();
    assert!(fs::read(&image.path).unwrap() == new);
    lab.remove("a").unwrap();
    lab.import(&request).unwrap_err();
    lab.remove("a").unwrap();
    assert_eq!(lab.entries(), Vec::<String>::new());
}

#[test]
fn what_came_whole_is_not_downloaded_again() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    // A process was killed when all was there.
    let staging = lab.cache.directory().join(".import-a");
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("download"), &bytes).unwrap();
    fs::write(staging.join("image.new-7"), "rubbish").unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let address = server.url("/a.raw");
    let state = |boot: &str, kept: usize| {
        let text = format!(
            "url = {address:?}\netag = '\"1\"'\ntotal_bytes = {MIB}\nboot_id = {boot:?}\nkept_bytes = {kept}\n"
        );
        fs::write(staging.join("download.toml"), text).unwrap();
    };
    state(boot.trim(), 0);
    let image = lab.import(&url(&address)).unwrap();
    assert_eq!(server.take_requests()[0].range, Some(format!("bytes={}-", MIB - 1)));
    assert!(fs::read(&image.path).unwrap() == bytes);
    assert_eq!(lab.entries(), [".record-a.toml", "a"]);
    lab.remove("a").unwrap();
    // Of what was there when the host went down, only what was kept is believed.
    fs::create_dir_all(&staging).unwrap();
    fs::write(staging.join("download"), vec![0; MIB]).unwrap();
    state("another", 0);
    let image = lab.import(&url(&address)).unwrap();
    assert_eq!(server.take_requests()[0].range, None);
    assert!(fs::read(&image.path).unwrap() == bytes);
}

#[test]
fn a_silent_server_is_not_waited_for_longer_than_set() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\"").stall_after(MIB / 8));
    let request = url(&server.url("/a.raw")).silence(Duration::from_secs(2));
    let error = lab.import(&request).unwrap_err();
    let ImageError::Download { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(source, DownloadError::Silent { .. }), "{error:?}");
    server.put("/a.raw", WebFile::new(&bytes[..]).etag("\"1\""));
    // However busy this host is.
    let image = lab.import(&request.silence(Duration::from_secs(120))).unwrap();
    assert!(fs::read(&image.path).unwrap() == bytes);
    let ranges: Vec<_> = server.take_requests().into_iter().map(|asked| asked.range).collect();
    assert_eq!(ranges, [None, Some(format!("bytes={}-", MIB / 8))]);
}

#[test]
fn one_process_imports_an_image_and_others_are_refused() {
    let lab = &Lab::new();
    let server = WebServer::start().unwrap();
    server.put("/a.raw", WebFile::new(noise(MIB)).etag("\"1\"").stall_after(MIB / 8));
    let request = &url(&server.url("/a.raw")).silence(Duration::from_secs(20));
    std::thread::scope(|scope| {
        let first = scope.spawn(move || lab.import(request));
        server.wait_for_stall();
        let error = lab.import(request).unwrap_err();
        assert!(matches!(error, ImageError::Locked { .. }), "{error:?}");
        let error = lab.remove("a").unwrap_err();
        assert!(matches!(error, ImageError::Locked { .. }), "{error:?}");
        drop(server);
        first.join().unwrap().unwrap_err();
    });
    assert_eq!(lab.entries(), [".import-a"]);
}

#[test_on(Openssl)]
fn a_server_is_asked_only_if_its_certificate_is_trusted() {
    let lab = Lab::new();
    let server = WebServer::start_tls(&TestAuthority::new().unwrap()).unwrap();
    server.put("/a.raw", WebFile::new(noise(MIB)));
    let error = lab.import(&url(&server.url("/a.raw"))).unwrap_err();
    let ImageError::Download { source, .. } = &error else { panic!("{error:?}") };
    // Which of them is up to the host; that it can be trusted is a test of the command's.
    let is_refused =
        matches!(source, DownloadError::Untrusted { .. } | DownloadError::NoCertificates);
    assert!(is_refused, "{error:?}");
    assert!(error.hint().unwrap().contains("SSL_CERT_FILE"), "{error:?}");
    assert_eq!(lab.entries(), Vec::<String>::new());
}
