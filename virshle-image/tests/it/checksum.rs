//! Checksums, compared with those of lists.

use std::fs;
use std::process::Command;

use virshle_image::{Expected, ImageError};
use virshle_testkit::{WebFile, WebServer};

use crate::lab::{Lab, MIB, digest, name, noise, sha256, url};

#[test]
fn checksums_are_looked_up_in_lists() {
    let lab = Lab::new();
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
        lab.import(&url(&server.url("/x/a.raw")).expected(listed))
    };
    for list in [
        server.url("/x/SHA256SUMS"),
        server.url("/x/SHA512SUMS"),
        lab.path("sums").display().to_string(),
    ] {
        assert_eq!(with(&list).unwrap().sha256, Some(sha256(&bytes)), "{list}");
        lab.remove("a").unwrap();
    }
    let error = with(&server.url("/x/OTHER")).unwrap_err();
    assert!(matches!(error, ImageError::Unlisted { .. }), "{error:?}");
    let error = with(&server.url("/x/LONG")).unwrap_err();
    assert!(matches!(error, ImageError::Download { .. }), "{error:?}");
    let error = with(&server.url("/x/nothing")).unwrap_err();
    assert!(matches!(error, ImageError::Download { .. }), "{error:?}");
    let error = with(lab.path("nothing").to_str().unwrap()).unwrap_err();
    assert!(matches!(error, ImageError::Read { .. }), "{error:?}");
    // Nothing was downloaded before the list was read.
    assert_eq!(lab.entries(), Vec::<String>::new());
}

/// Regression: neither was decoded, so that a password with an `@` was refused, and a list had no
/// file of that name.
#[test]
fn users_passwords_and_names_are_decoded_as_curl_does() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/disk%20image.raw", WebFile::new(&bytes[..]));
    let list =
        format!("\u{feff}{}  b.raw\r\n{}  disk image.raw\r\n", "0".repeat(64), sha256(&bytes));
    let utf16: Vec<u8> = list.encode_utf16().flat_map(u16::to_le_bytes).collect();
    server.put("/SHA256SUMS", WebFile::new(utf16));
    fs::write(lab.path("sums"), &list).unwrap();
    let with_user =
        |path: &str| server.url(path).replace("http://", "http://m%C3%A9:p%40s%3As%2F%23%25@");
    for list in [with_user("/SHA256SUMS"), lab.path("sums").display().to_string()] {
        let listed = Expected::Listed(list.parse().unwrap());
        let request = url(&with_user("/disk%20image.raw")).name(name("a")).expected(listed);
        let image = lab.import(&request).unwrap();
        assert_eq!(image.sha256, Some(sha256(&bytes)));
        assert_eq!(image.source, Some(server.url("/disk%20image.raw")), "no password is kept");
        lab.remove("a").unwrap();
    }
    // "mé:p@s:s/#%"
    let ours = server.take_requests();
    assert_eq!(ours.len(), 3);
    for request in &ours {
        assert_eq!(request.authorization.as_deref(), Some("Basic bcOpOnBAczpzLyMl"));
    }
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", &with_user("/SHA256SUMS")]);
    if curl.status().is_ok_and(|status| status.success()) {
        assert_eq!(server.take_requests()[0].authorization, ours[0].authorization);
    }
    // Without a name of its own an image is called as its file, decoded: this can't be a name.
    let error = lab.import(&url(&server.url("/disk%20image.raw"))).unwrap_err();
    assert!(error.to_string().contains("\"disk image.raw\""), "{error}");
}

/// Regression: a file of this host was read twice, and its owner could write to it in between.
#[test]
fn what_was_compared_is_what_is_kept() {
    let lab = Lab::new();
    let bytes = noise(3 * MIB);
    for (request, file) in [("raw", "a.raw"), ("as a link", "link.raw")] {
        let path = lab.path("a.raw");
        fs::write(&path, &bytes).unwrap();
        drop(std::os::unix::fs::symlink("a.raw", lab.path("link.raw")));
        let expected = Expected::Checksum(sha256(&bytes).parse().unwrap());
        let import = crate::lab::file(&lab.path(file)).name(name("a")).expected(expected);
        let mut reports = 0;
        // After the first piece was read, its owner changes it.
        let image = lab
            .cache
            .import(&import, &mut |_| {
                reports += 1;
                let file = fs::File::options().write(true).open(&path).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"EVIL", 0).unwrap();
            })
            .unwrap();
        assert!(reports > 1, "{request}");
        assert!(fs::read(&path).unwrap().starts_with(b"EVIL"));
        assert!(fs::read(&image.path).unwrap() == bytes, "{request}");
        assert_eq!((image.sha256, image.verified), (Some(sha256(&bytes)), Some(true)));
        assert_eq!(lab.entries(), [".record-a.toml", "a"]);
        lab.remove("a").unwrap();
        // What is there now is another file.
        let error = lab.import(&import).unwrap_err();
        assert!(matches!(error, ImageError::Checksum { .. }), "{error:?}");
        assert_eq!(lab.entries(), Vec::<String>::new());
    }
}

#[test]
fn what_no_one_compared_is_not_verified() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let bytes = noise(MIB);
    server.put("/a.raw", WebFile::new(&bytes[..]));
    server.put("/SUMS", WebFile::new(format!("{}  a.raw\n", sha256(&bytes))));
    fs::write(lab.path("SUMS"), format!("{}  a.raw\n", sha256(&bytes))).unwrap();
    let listed = |list: &str| Some(Expected::Listed(list.parse().unwrap()));
    for (expected, verified) in [
        (None, false),
        // Who can change the image can change the list.
        (listed(&server.url("/SUMS")), false),
        (listed(lab.path("SUMS").to_str().unwrap()), true),
        (Some(Expected::Checksum(sha256(&bytes).parse().unwrap())), true),
    ] {
        let mut request = url(&server.url("/a.raw"));
        if let Some(expected) = expected {
            request = request.expected(expected);
        }
        assert_eq!((request.is_verified(), request.is_open_to_change()), (verified, !verified));
        assert_eq!(lab.import(&request).unwrap().verified, Some(verified));
        let listed = lab.cache.list(&[]).unwrap().images.remove(0);
        assert_eq!(listed.verified, Some(verified));
        lab.remove("a").unwrap();
    }
    // The record of an earlier version doesn't say.
    lab.import(&url(&server.url("/a.raw"))).unwrap();
    let record = lab.cache.directory().join(".record-a.toml");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("verified = false\n", "")).unwrap();
    let image = lab.cache.info(&name("a"), &[]).unwrap();
    assert_eq!((image.verified, image.sha256), (None, Some(sha256(&bytes))));
    // Nor does a file that someone put there.
    fs::copy(lab.path("image.raw"), lab.cache.path(&name("own"))).unwrap();
    assert_eq!(lab.cache.info(&name("own"), &[]).unwrap().verified, None);
}
