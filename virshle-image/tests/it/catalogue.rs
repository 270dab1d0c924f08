//! Each image of the catalogue from a web server that has what its publisher has: the same path, and a
//! list of checksums in the same form.

use std::fs;

use virshle_image::{Catalogue, CatalogueImage, Expected, ImageError, ImportRequest, ImportSource};
use virshle_testkit::{WebFile, WebServer};

use crate::lab::{Lab, MIB, digest, noise, sha256};

/// The address of the server that stands for the one of `url`: its name is the first part of the path.
fn moved(server: &WebServer, source: &ImportSource) -> (String, String) {
    let ImportSource::Url(url) = source else { panic!("{source:?}") };
    let path = format!("/{}", url.strip_prefix("https://").unwrap());
    (server.url(&path), path)
}

/// The list of checksums as the publisher of `image` writes it, for the file `name` of these `bytes`.
fn list_of(image: &CatalogueImage, name: &str, bytes: &[u8]) -> String {
    let (ours, theirs) = (sha256(bytes), "0".repeat(64));
    let bsd = |sum: &str, name: &str| format!("SHA256 ({name}) = {sum}\n");
    match image.name.as_str() {
        // SHA512SUMS of a directory.
        "debian" => {
            let sum = digest("sha512sum", bytes);
            format!(
                "{}  other.qcow2\n{sum}  {name}\n{}  {name}.json\n",
                "1".repeat(128),
                "2".repeat(128)
            )
        }
        // SHA256SUMS of a directory, of files that were read as binary.
        "ubuntu" => format!("{theirs} *other.img\n{ours} *{name}\n{theirs} *{name}.manifest\n"),
        // One file for a directory, within a signature.
        "fedora" => format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# other.qcow2: 7 bytes\n{}# {name}: {} \
             bytes\n{}-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=AbCd\n-----END PGP SIGNATURE-----\n",
            bsd(&theirs, "other.qcow2"),
            bytes.len(),
            bsd(&ours, name),
        ),
        // The checksum alone, without a name or an end of the line.
        "alpine" => digest("sha512sum", bytes),
        // Beside the file, which it calls by its name of the day.
        "arch" => format!("{ours}  {}\n", name.replace(".qcow2", "-20260715.556894.qcow2")),
        "opensuse" => format!("{ours}  {}\n", name.replace("-Cloud", "-16.0.0-Cloud-Build6.42")),
        // Beside the file, in BSD's form, with its size.
        "rocky" => format!("# {name}: {} bytes\n{}", bytes.len(), bsd(&ours, name)),
        // CHECKSUM of a directory.
        "almalinux" => format!("{theirs}  other.qcow2\n{ours}  {name}\n"),
        other => panic!("how does {other} publish its checksums?"),
    }
}

#[test]
fn every_image_is_pulled_as_its_publisher_serves_it() {
    let lab = Lab::new();
    let server = WebServer::start().unwrap();
    let mut seen = 0;
    for architecture in ["x86_64", "aarch64"] {
        for image in Catalogue::of(architecture).images() {
            // The other machine's differ in nothing but their addresses.
            if architecture == "aarch64" && !image.is_default {
                continue;
            }
            seen += 1;
            let bytes = noise(64 << 10);
            let Some(Expected::Listed(list)) = &image.expected else { panic!("{image:?}") };
            let (url, path) = moved(&server, &image.source);
            let (list, list_path) = moved(&server, list);
            let name = path.rsplit('/').next().unwrap();
            server.put(&path, WebFile::new(&bytes[..]));
            let text = list_of(image, name, &bytes);
            server.put(&list_path, WebFile::new(text.clone()));
            let request = |list: &str| {
                let listed = Expected::Listed(list.parse().unwrap());
                ImportRequest::new(url.parse().unwrap())
                    .name(image.image_name().unwrap())
                    .expected(listed)
            };
            let pulled = lab.import(&request(&list)).unwrap_or_else(|error| {
                panic!("{}: {error}, of {list}:\n{text}", image.reference())
            });
            assert_eq!(pulled.name, image.image_name().unwrap().as_str());
            assert_eq!(pulled.sha256, Some(sha256(&bytes)), "{}", image.reference());
            lab.remove(&pulled.name).unwrap();
            if !image.is_default || architecture == "aarch64" {
                continue;
            }
            // An image that someone changed is refused.
            server.put(&path, WebFile::new(noise(MIB)));
            let error = lab.import(&request(&list)).unwrap_err();
            assert!(matches!(error, ImageError::Checksum { .. }), "{error:?}");
            // Without a list nothing is pulled.
            server.put(&list_path, WebFile::status(404));
            let error = lab.import(&request(&list)).unwrap_err();
            assert!(matches!(error, ImageError::Download { .. }), "{error:?}");
            assert!(lab.entries().is_empty(), "{:?}", lab.entries());
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn an_image_of_ones_own_is_pulled_from_where_it_is_said_to_be() {
    let lab = Lab::new();
    let bytes = fs::read(lab.path("image.raw")).unwrap();
    let mut catalogue = Catalogue::default();
    let reference = "golden:7".parse().unwrap();
    let mut image = CatalogueImage::new(&reference, ImportSource::File(lab.path("image.raw")));
    image.expected = Some(Expected::Checksum(sha256(&bytes).parse().unwrap()));
    catalogue.add(image);
    let image = catalogue.find(&"golden".parse().unwrap()).unwrap();
    let pulled = lab.import(&image.request().unwrap()).unwrap();
    assert_eq!((pulled.name.as_str(), pulled.verified), ("golden-7", Some(true)));
}
