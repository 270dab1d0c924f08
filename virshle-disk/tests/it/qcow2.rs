//! What qemu-img, which knows qcow2 best, says of ours, and we of its.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use virshle_disk::{
    BackingFile, CloneMethod, CloneMode, CloneRequest, ConvertRequest, DiskError, Format, grow,
    has_compressed_clusters, inspect,
};
use virshle_testkit_macros::test_on;

pub(crate) fn qemu_img(args: &[&str]) -> String {
    let output = Command::new("qemu-img").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {args:?}: {text}{errors}");
    text
}

fn info(path: &Path) -> Value {
    serde_json::from_str(&qemu_img(&["info", "--output=json", path.to_str().unwrap()])).unwrap()
}

#[test_on(QemuImg)]
fn an_overlay_is_what_qemu_img_takes_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image.raw");
    fs::write(&image, vec![7; 3 << 20]).unwrap();
    for (number, size) in [(0, 3_u64 << 20), (1, 10 << 30), (2, 40 << 40)] {
        let path = directory.path().join(format!("overlay{number}"));
        let request = CloneRequest::new(&image, &path).mode(CloneMode::Overlay).size_bytes(size);
        let disk = request.run().unwrap();
        assert_eq!((disk.format, disk.method), (Format::Qcow2, CloneMethod::Overlay));
        let shown = path.to_str().unwrap();
        qemu_img(&["check", shown]);
        let info = info(&path);
        assert_eq!(info["virtual-size"], size);
        assert_eq!(info["backing-filename-format"], "raw");
        assert_eq!(info["full-backing-filename"], image.canonicalize().unwrap().to_str().unwrap());
        let found = inspect(&path).unwrap();
        assert_eq!((found.virtual_size_bytes, found.backing_file.is_some()), (size, true));
    }
    let flat = directory.path().join("flat.raw");
    let overlay = directory.path().join("overlay0");
    qemu_img(&["convert", "-O", "raw", overlay.to_str().unwrap(), flat.to_str().unwrap()]);
    assert_eq!(fs::read(flat).unwrap(), fs::read(image).unwrap());
}

#[test_on(QemuImg)]
fn a_qcow2_is_cloned_and_grown_and_keeps_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("image.raw");
    fs::write(&raw, vec![7; 5 << 20]).unwrap();
    for options in ["compat=v3", "compat=0.10", "compat=v3,cluster_size=4k"] {
        let image = directory.path().join("image");
        let shown = image.to_str().unwrap();
        qemu_img(&["convert", "-O", "qcow2", "-o", options, raw.to_str().unwrap(), shown]);
        assert_eq!(inspect(&image).unwrap().virtual_size_bytes, 5 << 20);
        let path = directory.path().join("disk");
        let size = 64 << 20;
        let disk = CloneRequest::new(&image, &path).size_bytes(size).run().unwrap();
        assert_eq!(disk.format, Format::Qcow2);
        qemu_img(&["check", path.to_str().unwrap()]);
        assert_eq!(info(&path)["virtual-size"], size);
        grow(&path, 2 * size).unwrap();
        qemu_img(&["check", path.to_str().unwrap()]);
        let flat = directory.path().join("flat");
        qemu_img(&["convert", "-O", "raw", path.to_str().unwrap(), flat.to_str().unwrap()]);
        let bytes = fs::read(&flat).unwrap();
        assert!(bytes[..5 << 20] == fs::read(&raw).unwrap()[..], "{options}");
        assert!(bytes[5 << 20..].iter().all(|byte| *byte == 0), "{options}");
        let error = grow(&path, size).unwrap_err();
        assert!(matches!(error, DiskError::TooSmall { .. }), "{error:?}");
        fs::remove_file(path).unwrap();
    }
}

/// Regression: no program of QEMU's opened a grown disk whose image had a bitmap of a backup's.
#[test_on(QemuImg)]
fn a_qcow2_with_persistent_bitmaps_is_opened_by_qemu_after_it_has_grown() {
    let directory = tempfile::tempdir().unwrap();
    let (image, path) = (directory.path().join("image"), directory.path().join("disk"));
    let raw = directory.path().join("raw");
    fs::write(&raw, vec![7; 5 << 20]).unwrap();
    for (granularity, size) in [("64k", 64_u64 << 20), ("1M", 3 << 40)] {
        let (shown, disk) = (image.to_str().unwrap(), path.to_str().unwrap());
        qemu_img(&["convert", "-O", "qcow2", raw.to_str().unwrap(), shown]);
        for name in ["b0", "b1"] {
            qemu_img(&["bitmap", "--add", "-g", granularity, shown, name]);
        }
        assert!(qemu_img(&["info", shown]).contains("b0"), "no bitmap to begin with");
        CloneRequest::new(&image, &path).size_bytes(size).run().unwrap();
        assert_eq!(info(&path)["virtual-size"], size);
        // It is written, and its bitmaps are as if they had never been.
        let write =
            Command::new("qemu-io").args(["-c", "write -P 9 8M 64k", disk]).output().unwrap();
        assert!(write.status.success(), "{write:?}");
        assert!(info(&path)["format-specific"]["data"]["bitmaps"].is_null());
        // The room that they took is lost, and nothing worse: status 3 is of leaks alone.
        let check = Command::new("qemu-img").args(["check", disk]).output().unwrap();
        assert_eq!(check.status.code(), Some(3), "{check:?}");
        qemu_img(&["check", "-r", "leaks", disk]);
        qemu_img(&["check", disk]);
        // One that keeps its size keeps them.
        let same = directory.path().join("same");
        CloneRequest::new(&image, &same).run().unwrap();
        assert!(info(&same)["format-specific"]["data"]["bitmaps"].is_array());
        fs::remove_file(same).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

#[test_on(QemuImg)]
fn what_cannot_be_copied_is_refused_with_the_command_that_helps() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", &text("base"), "1M"]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &text("base"), "-F", "qcow2", &text("top")]);
    for mode in CloneMode::ALL {
        let error = CloneRequest::new(&at("top"), &at("disk")).mode(mode).run().unwrap_err();
        assert!(matches!(error, DiskError::HasBackingFile { .. }), "{error:?}");
        // What its header names is not to be opened, in whatever way.
        let hint = error.hint().unwrap();
        assert!(hint.contains("qemu-img convert") && !hint.contains("overlay"), "{hint}");
    }
    let request = CloneRequest::new(&at("top"), &at("disk")).mode(CloneMode::Overlay);
    let disk = request.backing_file(BackingFile::Follow).run().unwrap();
    assert_eq!(disk.backing_files, [at("top"), at("base")]);
    fs::remove_file(at("disk")).unwrap();
    for (format, name) in [
        ("vmdk", "a VMDK"),
        ("vpc", "a VHD"),
        ("vhdx", "a VHDX"),
        ("vdi", "a VDI"),
        ("qed", "a QED"),
        ("parallels", "a Parallels"),
        ("qcow", "version 1"),
    ] {
        qemu_img(&["create", "-q", "-f", format, &text(format), "8M"]);
        let error = CloneRequest::new(&at(format), &at("disk")).run().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.hint().unwrap().contains("qemu-img convert"), "{error:?}");
    }
    assert!(!at("disk").exists());
    let small = CloneRequest::new(&at("base"), &at("disk")).size_bytes(512);
    assert!(matches!(small.run(), Err(DiskError::TooSmall { .. })));
    assert!(!at("disk").exists());
}

/// Regression: cloud-hypervisor opens no qcow2 with extended L2 entries, and only the import knew.
#[test_on(QemuImg)]
fn what_cloud_hypervisor_cannot_open_is_refused_at_every_door() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", &text("base"), "1M"]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &text("base"), "-F", "qcow2", &text("top")]);
    let refused = |error: DiskError| {
        assert!(error.to_string().contains("extended L2"), "{error}");
        assert!(error.hint().unwrap().contains("qemu-img convert"), "{error:?}");
        assert!(!at("disk").exists());
    };
    refused(inspect(&at("base")).unwrap_err());
    refused(virshle_disk::check(&at("base")).unwrap_err());
    refused(grow(&at("base"), 2 << 20).unwrap_err());
    for mode in CloneMode::ALL {
        refused(CloneRequest::new(&at("base"), &at("disk")).mode(mode).run().unwrap_err());
    }
    for format in Format::ALL {
        let request = ConvertRequest::new(&at("base"), &at("disk")).format(format);
        refused(request.run().unwrap_err());
    }
    // An overlay of an image whose own backing file is such.
    let request = CloneRequest::new(&at("top"), &at("disk")).mode(CloneMode::Overlay);
    refused(request.backing_file(BackingFile::Follow).run().unwrap_err());
    // The hint leads to one that can be used.
    qemu_img(&["convert", "-O", "qcow2", &text("base"), &text("converted")]);
    CloneRequest::new(&at("converted"), &at("disk")).run().unwrap();
}

#[test_on(QemuImg)]
fn compressed_clusters_are_found_and_kept_when_a_disk_is_grown() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    fs::write(at("raw"), b"all work and no play ".repeat(200_000)).unwrap();
    assert!(!has_compressed_clusters(&at("raw")).unwrap());
    for (args, is_compressed) in [
        (&["-o", "compat=1.1"][..], false),
        (&["-c"], true),
        (&["-c", "-o", "compression_type=zstd"], true),
    ] {
        let arguments = [&["convert", "-O", "qcow2"], args, &[&text("raw"), &text("image")]];
        qemu_img(&arguments.concat());
        CloneRequest::new(&at("image"), &at("disk")).size_bytes(1 << 30).run().unwrap();
        for name in ["image", "disk"] {
            assert_eq!(has_compressed_clusters(&at(name)).unwrap(), is_compressed, "{args:?}");
        }
        // An overlay has none of its own.
        let request = CloneRequest::new(&at("image"), &at("top")).mode(CloneMode::Overlay);
        request.run().unwrap();
        assert!(!has_compressed_clusters(&at("top")).unwrap());
        for name in ["disk", "top"] {
            fs::remove_file(at(name)).unwrap();
        }
    }
}
