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
