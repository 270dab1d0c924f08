//! What qemu-img, which knows qcow2 best, says of ours, and we of its.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use virshle_disk::{CloneMethod, CloneMode, CloneRequest, DiskError, Format, grow, inspect};
use virshle_testkit_macros::test_on;

pub(crate) fn qemu_img(words: &[&str]) -> String {
    let output = Command::new("qemu-img").args(words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-img {words:?}: {text}{errors}");
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

#[test_on(QemuImg)]
fn what_cannot_be_copied_is_refused_with_the_command_that_helps() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", &text("base"), "1M"]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &text("base"), "-F", "qcow2", &text("top")]);
    let error = CloneRequest::new(&at("top"), &at("disk")).run().unwrap_err();
    assert!(error.hint().unwrap().contains("qemu-img convert"), "{error:?}");
    for (format, name) in
        [("vmdk", "a VMDK"), ("vpc", "a VHD"), ("vhdx", "a VHDX"), ("vdi", "a VDI")]
    {
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
