//! Images: imported from a file and from a web server, listed, shown, removed.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use virshle_testkit::{TestAuthority, WebFile, WebServer};
use virshle_testkit_macros::test_on;

use crate::home::{Home, ran};

fn sevens() -> Vec<u8> {
    vec![7; 1 << 20]
}

/// The files in the cache, hidden or not.
fn cached(home: &Home) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(home.root().join("cache"))
        .map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn an_image_is_imported_listed_shown_used_and_removed() {
    let home = Home::new();
    assert_eq!(home.json("image ls"), serde_json::json!([]));
    let done = home.ok("image import image.raw --name debian");
    assert_eq!(done, "imported debian: raw, 1 MiB, 1 MiB on disk\n");
    let listed = home.json("image ls");
    let image = &listed[0];
    assert_eq!(image["name"], "debian");
    assert_eq!(image["format"], "raw");
    assert_eq!(
        (image["size"].as_u64(), image["allocated"].as_u64()),
        (Some(1 << 20), Some(1 << 20))
    );
    assert_eq!(image["source"], home.path("image.raw").display().to_string());
    assert_eq!(image["path"], home.root().join("cache/debian").display().to_string());
    assert!(image["imported"].as_str().unwrap().ends_with('Z'), "{image}");
    assert!(image["sha256"].is_null(), "{image}");
    assert_eq!(home.json("image info debian"), *image);
    let table = home.ok("image ls");
    assert!(table.contains("│ debian │ raw    │ 1 MiB │ 1 MiB     │ 20"), "{table}");
    let info = home.ok("image info debian");
    for line in ["name       debian", "format     raw", "size       1 MiB"] {
        assert!(info.lines().any(|found| found == line), "{line:?} is not in {info}");
    }
    home.write_config(
        "[[template.vm]]\nname = \"t\"\nvcpu = 1\nvram = 1\n\
         [[template.vm.disk]]\nname = \"os\"\nimage = \"debian\"\nclone = \"overlay\"\n\
         [[template.vm]]\nname = \"u\"\nvcpu = 1\nvram = 1\n\
         [[template.vm.disk]]\nname = \"os\"\nimage = \"debian1\"\n",
    );
    home.run("vm create -t u").fails_with(3, &["no image \"debian1\"", "did you mean \"debian\"?"]);
    home.ok("vm create -t t --name web");
    home.run("image rm debian").fails_with(6, &["in use by machine web", "hint: "]);
    assert_eq!(home.json("image info debian")["overlays"], serde_json::json!(["machine web"]));
    home.ok("vm rm web");
    assert_eq!(home.json("image rm debian"), serde_json::json!({"name": "debian"}));
    assert_eq!(cached(&home), Vec::<String>::new());
    home.run("image info debian").fails_with(3, &["no image \"debian\"", "v image import"]);
}

#[test]
fn a_failed_import_is_reported_and_leaves_nothing() {
    let home = Home::new();
    let server = WebServer::start().unwrap();
    let at = |path: &str| server.url(path);
    server.put("/a.raw", WebFile::new(sevens()));
    server.put("/SHA256SUMS", WebFile::new(format!("{}  a.raw\n", "0".repeat(64))));
    for (arguments, code, texts) in [
        ("image import nothing.raw".to_owned(), 1, ["nothing.raw", "hint: "]),
        ("image import".into(), 2, ["FILE-OR-URL", ""]),
        ("image import ftp://there/a".into(), 2, ["ftp: is not supported", "https:"]),
        ("image import image.raw --name a/b".into(), 2, ["'/' does not fit", ""]),
        ("image import image.raw --sha256 12".into(), 2, ["64 hexadecimal digits", ""]),
        ("image import image.raw --format vmdk".into(), 2, ["raw, qcow2, keep", ""]),
        ("image import image.raw --format qcow2".into(), 1, ["is raw, not qcow2", "--format keep"]),
        (format!("image import {}", at("/")), 2, ["cannot be an image's name", "--name"]),
        (format!("image import {}", at("/b.raw")), 1, ["answers 404 Not Found", "hint: "]),
        (
            format!("image import {} --sha256sums {}", at("/a.raw"), at("/SHA256SUMS")),
            1,
            ["is not what was expected", "its SHA-256 is"],
        ),
        (
            format!("image import {} --sha256sums {}", at("/a.raw"), at("/none")),
            1,
            ["/none", "answers 404"],
        ),
        (
            format!("image import image.raw --sha256 {}", "0".repeat(64)),
            1,
            ["not what was", "hint: "],
        ),
        ("image rm nothing".into(), 3, ["no image", "hint: "]),
    ] {
        home.run(&arguments).fails_with(code, &texts);
    }
    assert_eq!(cached(&home), Vec::<String>::new());
    home.ok("image import image.raw");
    home.run("image import image.raw").fails_with(6, &["image exists already", "v image rm image"]);
    let error = home.run("image import image.raw --json");
    assert_eq!((error.code, error.stdout.as_str()), (6, ""));
    assert_eq!(error.error()["code"], "image-taken");
    // What is no image in the directory hides no other.
    fs::write(home.root().join("cache/notes.gz"), b"\x1f\x8b\x08 and more").unwrap();
    let listed = home.run("image ls");
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(listed.stderr.contains("notes.gz") && listed.stderr.contains("gzip"), "{listed:?}");
    assert_eq!(home.json("image ls")[1]["error"]["code"], "image-unfit");
}

#[test]
fn an_interrupted_download_is_resumed_by_the_same_command() {
    let home = Home::new();
    let bytes = sevens();
    let server = WebServer::start().unwrap();
    let file = || WebFile::new(bytes.clone()).etag("\"1\"");
    let arguments = format!("image import {} --format keep", server.url("/a.raw"));
    server.put("/a.raw", file().cut_after(300_000));
    home.run(&arguments).fails_with(1, &["ended after 300000 of 1048576 bytes", "resumes"]);
    server.put("/a.raw", file().stall_after(100_000));
    // Not INT, which shells let their background jobs ignore, and so what those start.
    for signal in [Signal::KILL, Signal::TERM] {
        let command = &mut home.command(&arguments.split(' ').collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        server.wait_for_stall();
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert!(child.wait().unwrap().signal().is_some());
        assert_eq!(cached(&home), [".import-a"]);
    }
    let listed = home.run("image ls");
    assert!(
        listed.stderr.contains(" of 1 MiB; resume with `v image import --name a "),
        "{listed:?}"
    );
    assert!(listed.stderr.contains(&server.url("/a.raw")), "{listed:?}");
    server.take_requests();
    server.put("/a.raw", file());
    home.ok(&arguments);
    let asked = server.take_requests();
    assert!(asked[0].range.is_some(), "{asked:?}");
    assert!(fs::read(home.root().join("cache/a")).unwrap() == bytes);
    assert_eq!(cached(&home), [".record-a.toml", "a"]);
    assert_eq!(home.json("image info a")["sha256"], sha256(&home, "image.raw"));
}

fn sha256(home: &Home, file: &str) -> String {
    let output =
        std::process::Command::new("sha256sum").arg(home.path(file)).output().unwrap().stdout;
    String::from_utf8(output).unwrap().split(' ').next().unwrap().to_owned()
}

#[test_on(Openssl)]
fn https_needs_a_trusted_certificate() {
    let home = Home::new();
    let authority = TestAuthority::new().unwrap();
    let server = WebServer::start_tls(&authority).unwrap();
    server.put("/a.raw", WebFile::new(sevens()));
    let address = server.url("/a.raw");
    let import = |variable: &str, value: &str| {
        ran(home.command(&["image", "import", &address]).env(variable, value))
    };
    let stranger = TestAuthority::new().unwrap();
    import("SSL_CERT_FILE", stranger.certificate().to_str().unwrap())
        .fails_with(1, &["cannot download", "invalid peer certificate", "SSL_CERT_FILE"]);
    import("SSL_CERT_FILE", "/nonexistent")
        .fails_with(1, &["no CA certificates", "ca-certificates"]);
    assert_eq!(cached(&home), Vec::<String>::new());
    let done = import("SSL_CERT_FILE", authority.certificate().to_str().unwrap());
    assert_eq!(done.code, 0, "{done:?}");
    assert!(fs::read(home.root().join("cache/a")).unwrap() == sevens());
}

/// Regression: the redirect was followed without a word, and the source was recorded as https.
#[test_on(Openssl)]
fn what_begins_with_https_stays_with_it() {
    let home = Home::new();
    let authority = TestAuthority::new().unwrap();
    let (secure, plain) = (WebServer::start_tls(&authority).unwrap(), WebServer::start().unwrap());
    plain.put("/a.raw", WebFile::new(sevens()));
    let list = format!("{}  a.raw\n", sha256(&home, "image.raw"));
    plain.put("/SUMS", WebFile::new(list.clone()));
    secure.put("/a.raw", WebFile::moved(&plain.url("/a.raw")));
    secure.put("/SUMS", WebFile::moved(&plain.url("/SUMS")));
    secure.put("/b.raw", WebFile::moved(&secure.url("/there/b.raw")));
    secure.put("/there/b.raw", WebFile::new(sevens()));
    let import = |arguments: &[&str]| {
        let mut command = home.command(&[&["image", "import"], arguments].concat());
        ran(command.env("SSL_CERT_FILE", authority.certificate()))
    };
    let redirected = ["cannot download https://", "redirects from https to http"];
    import(&[&secure.url("/a.raw")]).fails_with(1, &redirected);
    // The list alone would do: whoever can change it can change the image.
    import(&[&plain.url("/a.raw"), "--sha256sums", &secure.url("/SUMS")])
        .fails_with(1, &redirected);
    assert_eq!(cached(&home), Vec::<String>::new());
    assert!(plain.take_requests().is_empty());
    let done = import(&[&secure.url("/b.raw")]);
    assert_eq!((done.code, done.stderr.contains("http,")), (0, false), "{done:?}");
    assert!(home.ok("image info b").contains("verified   no"));
    // Over http, and the list by https: verified.
    secure.put("/LIST", WebFile::new(list));
    let done = import(&[&plain.url("/a.raw"), "--sha256sums", &secure.url("/LIST")]);
    assert_eq!((done.code, done.stderr.contains("http,")), (0, false), "{done:?}");
    assert!(home.ok("image info a").contains("verified   yes"));
    assert_eq!(home.json("image info a")["verified"], true);
}

#[test]
fn an_image_over_http_that_no_one_compared_is_told_of() {
    let home = Home::new();
    let server = WebServer::start().unwrap();
    server.put("/a.raw", WebFile::new(sevens()));
    let done = home.run(&format!("image import {}", server.url("/a.raw")));
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("warning") && done.stderr.contains("--sha256"), "{done:?}");
    assert_eq!(home.json("image info a")["verified"], false);
    assert!(home.ok("image info a").contains("verified   no"));
    home.ok("image rm a");
    let sum = sha256(&home, "image.raw");
    let done = home.run(&format!("image import {} --sha256 {sum}", server.url("/a.raw")));
    assert!(!done.stderr.contains("warning"), "{done:?}");
    home.run(&format!("image import --name b --max-size 4K {}", server.url("/a.raw")))
        .fails_with(1, &["image a.raw is larger than 4 KiB"]);
    home.run("image import /etc/passwd").fails_with(1, &["/etc/passwd is a text file"]);
}

#[test]
fn progress_is_for_terminals_and_json_is_one_document() {
    let home = Home::new();
    let server = WebServer::start().unwrap();
    server.put("/a.raw", WebFile::new(sevens()));
    let ran = home.run(&format!("image import {} --json", server.url("/a.raw")));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let image: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(image["sha256"], sha256(&home, "image.raw"));
    assert_eq!(image["source"], server.url("/a.raw"));
}

#[test]
fn images_are_pulled_by_name_also_by_the_first_machine() {
    let home = Home::new();
    let server = WebServer::start().unwrap();
    let sum = {
        fs::write(home.path("sevens"), sevens()).unwrap();
        let output = std::process::Command::new("sha256sum").arg(home.path("sevens")).output();
        String::from_utf8(output.unwrap().stdout).unwrap()[..64].to_owned()
    };
    server.put("/d/latest.raw", WebFile::new(sevens()).etag("\"1\""));
    server.put("/d/latest.raw.sha256", WebFile::new(format!("{sum}  of-today.raw\n")));
    server.put("/g.raw", WebFile::new(sevens()));
    let (url, list, golden) =
        (server.url("/d/latest.raw"), server.url("/d/latest.raw.sha256"), server.url("/g.raw"));
    home.write_config(&format!(
        "[[catalogue.image]]\nname = \"debian:13\"\nurl = \"{url}\"\nchecksums = \"{list}\"\n\
         [[catalogue.image]]\nname = \"golden\"\nurl = \"{golden}\"\nsha256 = \"{sum}\"\nuser = \"me\"\n\
         [[template.vm]]\nname = \"t\"\nvcpu = 1\nvram = 1\n\
         disk = [{{ name = \"os\", image = \"debian\" }}]\n\
         [[template.vm]]\nname = \"u\"\nvcpu = 1\nvram = 1\n\
         disk = [{{ name = \"os\", image = \"debian:13\" }}]\n\
         [[template.vm]]\nname = \"bad\"\nvcpu = 1\nvram = 1\n\
         disk = [{{ name = \"os\", image = \"debian:7\" }}]\n"
    ));
    let remote = home.json("image ls --remote");
    let named = |name: &str, version: &str| {
        let mut all = remote.as_array().unwrap().iter();
        all.find(|one| one["name"] == name && one["version"] == version).unwrap().clone()
    };
    assert_eq!(named("debian", "13")["source"], url);
    assert_eq!(
        (&named("golden", "latest")["user"], named("golden", "latest")["default"].as_bool()),
        (&"me".into(), Some(true))
    );
    assert!(
        named("debian", "12")["source"].as_str().unwrap().starts_with("https://cloud.debian.org/")
    );

    // The first machine pulls it; the second finds it, by either name.
    let created = home.ok("vm create -t t --name web");
    assert!(created.contains("pulled debian as debian-13: raw, 1 MiB"), "{created}");
    server.take_requests();
    home.ok("vm create -t u --name db");
    assert_eq!(
        home.ok("image pull debian:13").split(',').next().unwrap(),
        "debian:13 is there already"
    );
    assert_eq!(server.take_requests(), []);
    assert_eq!(cached(&home), [".record-debian-13.toml", "debian-13"]);
    assert_eq!(home.json("image info debian-13")["verified"], false, "its list came by http");
    home.run("vm create -t bad").fails_with(3, &["no image \"debian:7\""]);

    let pulled = home.json("image pull golden debian");
    assert_eq!(
        (&pulled[0]["name"], &pulled[0]["was_there"]),
        (&"golden-latest".into(), &false.into())
    );
    assert_eq!(
        (&pulled[1]["reference"], &pulled[1]["was_there"]),
        (&"debian".into(), &true.into())
    );
    assert_eq!(home.json("image ls --remote")[1]["cached"], "golden-latest");
    home.run("image pull nixos").fails_with(3, &["no image \"nixos\"", "build one"]);
    home.run("image pull a:b:c").fails_with(2, &["a:b:c"]);

    // A list that says otherwise; a template whose image is to come is no finding.
    home.ok("image rm golden-latest");
    server.put("/g.raw", WebFile::new(vec![8; 1 << 20]));
    home.run("image pull golden").fails_with(1, &["is not what was expected"]);
    home.ok("vm rm web db");
    home.ok("image rm debian-13");
    let check = home.json_of_any("node check");
    let mut findings = check["findings"].as_array().unwrap().iter();
    let image = findings.find(|one| one["subject"] == "image").unwrap();
    assert!(image["message"].as_str().unwrap().starts_with("bad: "), "{image}");
}
