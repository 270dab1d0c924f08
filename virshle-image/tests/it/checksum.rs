//! Checksums, compared with those of lists.

use std::fs;

use virshle_image::{Expected, ImageError};
use virshle_testkit::{WebFile, WebServer};

use crate::lab::{Lab, MIB, digest, noise, sha256, url};

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
