//! Images created by qemu-img, of every kind it makes, against what qemu-img makes of them.
//!
//! Longer than other files: every kind shares one bench of images.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use virshle_disk::{
    BackingFile, Compression, ConvertRequest, DiskError, Format, allocated_bytes, check, inspect,
};
use virshle_testkit::LoopFilesystem;
use virshle_testkit_macros::test_on;

use crate::qcow2::qemu_img;

const MIB: u64 = 1 << 20;

/// Sources of a test, and what becomes of them.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A disk with noise, with what can be compressed well, with zeros, and with holes; it ends
    /// within a cluster.
    fn raw(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let file = File::create(&path).unwrap();
        file.set_len(24 * MIB + 5 * 512).unwrap();
        let mut seed = 7_u64;
        let noise: Vec<u8> = (0..MIB)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed.to_be_bytes()[1]
            })
            .collect();
        file.write_all_at(&noise, 0).unwrap();
        file.write_all_at(&b"all work\0and no play ".repeat(20_000), 5 * MIB + 700).unwrap();
        file.write_all_at(&vec![0; 2 << 20], 9 * MIB).unwrap();
        file.write_all_at(&noise[..100], 13 * MIB - 50).unwrap();
        file.write_all_at(&noise[..512], 24 * MIB + 4 * 512).unwrap();
        path
    }

    /// Makes `name` of `raw` with `options` of qemu-img.
    fn qcow2(&self, name: &str, options: &str, args: &[&str]) -> PathBuf {
        let (raw, path) = (self.text("raw"), self.text(name));
        let mut all = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", options];
        all.extend(args);
        all.extend([raw.as_str(), path.as_str()]);
        qemu_img(&all);
        self.path(name)
    }

    /// Makes `source` raw by us and by qemu-img, and compares every byte.
    fn assert_as_qemu_img_does(&self, source: &Path, backing_file: BackingFile) {
        let (ours, theirs) = (self.path("ours"), self.path("theirs"));
        let request = ConvertRequest::new(source, &ours).format(Format::Raw);
        let image = request.backing_file(backing_file).run().unwrap();
        let (source, shown) = (source.to_str().unwrap(), theirs.to_str().unwrap());
        qemu_img(&["convert", "-O", "raw", source, shown]);
        assert_eq!(image.format, Format::Raw);
        assert_eq!(image.virtual_size_bytes, theirs.metadata().unwrap().len(), "{source}");
        assert!(fs::read(&ours).unwrap() == fs::read(&theirs).unwrap(), "{source}");
        let (least, most) = (allocated_bytes(&ours).unwrap(), allocated_bytes(&theirs).unwrap());
        assert!(least <= most + 64 * 1024, "{source}: {least} bytes, by qemu-img {most}");
        fs::remove_file(ours).unwrap();
    }

    /// What is in the directory beside what the test put there.
    fn assert_nothing_but(&self, names: &[&str]) {
        let mut found: Vec<String> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !names.contains(&name.as_str()))
            .collect();
        found.sort();
        assert_eq!(found, Vec::<String>::new());
    }
}

#[test_on(QemuImg)]
fn every_qcow2_of_qemu_img_converts_as_qemu_img_does() {
    let bench = Bench::new();
    bench.raw("raw");
    for (options, args) in [
        ("compat=0.10", &[][..]),
        ("compat=1.1", &[]),
        ("compat=1.1,cluster_size=512", &[]),
        ("compat=1.1,cluster_size=4k", &[]),
        ("compat=0.10,cluster_size=2M", &[]),
        ("compat=1.1,refcount_bits=64", &[]),
        ("compat=1.1,lazy_refcounts=on", &[]),
        ("compat=1.1,preallocation=metadata", &[]),
        ("compat=1.1,preallocation=full", &[]),
        ("compat=0.10", &["-c"]),
        ("compat=1.1", &["-c"]),
        ("compat=1.1,cluster_size=4k", &["-c"]),
        ("compat=1.1,cluster_size=2M", &["-c"]),
        ("compat=1.1,compression_type=zstd", &["-c"]),
        ("compat=1.1,compression_type=zstd,cluster_size=4k", &["-c"]),
        ("compat=1.1,compression_type=zstd,cluster_size=2M", &["-c"]),
        // Zeros are written, or become clusters of zeros.
        ("compat=1.1", &["-S", "0"]),
        ("compat=1.1", &["-c", "-S", "0"]),
    ] {
        let source = bench.qcow2("source", options, args);
        bench.assert_as_qemu_img_does(&source, BackingFile::Refuse);
        let kept = bench.path("kept");
        let image = ConvertRequest::new(&source, &kept).format(Format::Qcow2).run().unwrap();
        assert_eq!(image.format, Format::Qcow2);
        assert!(fs::read(&kept).unwrap() == fs::read(&source).unwrap(), "{options}");
        assert_eq!(check(&kept).unwrap().virtual_size_bytes, image.virtual_size_bytes);
        fs::remove_file(kept).unwrap();
    }
}

#[test_on(QemuImg)]
fn a_qcow2_on_another_is_refused_or_becomes_whole() {
    let bench = Bench::new();
    bench.raw("raw");
    bench.qcow2("base", "compat=1.1", &["-c"]);
    let io = |name: &str, commands: &[&str]| {
        let mut command = Command::new("qemu-io");
        command.args(["-f", "qcow2"]);
        for args in commands {
            command.args(["-c", args]);
        }
        let output = command.arg(bench.path(name)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    // Smaller than its backing file, and below one that is larger again.
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "base",
        "-F",
        "qcow2",
        &bench.text("middle"),
        "12M",
    ]);
    io("middle", &["write -P 5 1M 200k", "write -z 2M 1M", "discard 6M 64k"]);
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "middle",
        "-F",
        "qcow2",
        &bench.text("top"),
        "30M",
    ]);
    io("top", &["write -P 9 20M 100k", "write -z 5M 512k", "write -P 0 1M 64k"]);
    // One that is raw by its name, whatever its content.
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "raw",
        "-F",
        "raw",
        &bench.text("on-raw"),
        "25M",
    ]);
    io("on-raw", &["write -P 3 0 70k"]);
    let disguised = fs::read(bench.path("base")).unwrap();
    fs::write(bench.path("disguised"), disguised).unwrap();
    qemu_img(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "disguised",
        "-F",
        "raw",
        &bench.text("on-disguised"),
        "25M",
    ]);
    for name in ["middle", "top", "on-raw"] {
        let path = bench.path(name);
        for format in [None, Some(Format::Raw), Some(Format::Qcow2)] {
            let mut request = ConvertRequest::new(&path, &bench.path("ours"));
            if let Some(format) = format {
                request = request.format(format);
            }
            let error = request.run().unwrap_err();
            assert!(matches!(error, DiskError::HasBackingFile { .. }), "{error:?}");
            assert!(!bench.path("ours").exists());
        }
        bench.assert_as_qemu_img_does(&path, BackingFile::Follow);
    }
    // It begins like a qcow2, and would be taken for one.
    let disguised =
        ConvertRequest::new(&bench.path("on-disguised"), &bench.path("ours")).format(Format::Raw);
    let error = disguised.backing_file(BackingFile::Follow).run().unwrap_err();
    assert!(error.to_string().contains("begins like a qcow2"), "{error}");
    assert!(!bench.path("ours").exists());
    // One that is its own backing file, in the end.
    qemu_img(&["rebase", "-u", "-b", "top", "-F", "qcow2", &bench.text("middle")]);
    let request = ConvertRequest::new(&bench.path("top"), &bench.path("ours")).format(Format::Raw);
    let error = request.backing_file(BackingFile::Follow).run().unwrap_err();
    assert!(matches!(error, DiskError::Broken { .. }), "{error:?}");
}

#[test_on(QemuImg)]
fn what_cannot_be_read_right_is_refused_with_the_reason() {
    let bench = Bench::new();
    let create = |name: &str, args: &[&str]| {
        let path = bench.text(name);
        qemu_img(&[&["create", "-q", "-f", "qcow2"], args, &[&path, "8M"]].concat());
    };
    let secret = ["--object", "secret,id=s,data=abc", "-o"];
    create(
        "luks",
        &[&secret[..], &["encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"]].concat(),
    );
    let data = format!("data_file={},data_file_raw=on", bench.text("data"));
    create("external", &["-o", &data]);
    create("extended", &["-o", "extended_l2=on"]);
    create("corrupt", &[]);
    create("unknown", &[]);
    let set = |name: &str, bit: u8| {
        let file = File::options().write(true).open(bench.path(name)).unwrap();
        file.write_all_at(&[bit], 79).unwrap();
    };
    set("corrupt", 0b10);
    set("unknown", 0b100_0000);
    for (name, word) in [
        ("luks", "encrypted"),
        ("external", "data in another file"),
        ("extended", "extended L2"),
        ("corrupt", "corrupt"),
        ("unknown", "unknown here"),
    ] {
        let request = ConvertRequest::new(&bench.path(name), &bench.path("ours"));
        let error = request.format(Format::Raw).run().unwrap_err();
        assert!(error.to_string().contains(word), "{name}: {error}");
        let hint = error.hint().unwrap();
        // Without its password it converts nothing.
        assert_eq!(hint.contains("--object secret,"), name == "luks", "{name}: {hint}");
        assert!(!bench.path("ours").exists());
    }
    // One that was not closed has refcounts that can't be trusted; its clusters can.
    bench.raw("raw");
    let source = bench.qcow2("dirty", "compat=1.1,lazy_refcounts=on", &[]);
    set("dirty", 1);
    bench.assert_as_qemu_img_does(&source, BackingFile::Refuse);
}

#[test_on(QemuImg)]
fn a_qcow2_that_was_cut_short_is_broken_and_leaves_nothing() {
    let bench = Bench::new();
    bench.raw("raw");
    for args in [&[][..], &["-c"]] {
        let source = bench.qcow2("source", "compat=1.1", args);
        let length = source.metadata().unwrap().len();
        for part in [2, 3, 10] {
            let file = File::options().write(true).open(&source).unwrap();
            file.set_len(length / part).unwrap();
            let error = check(&source).unwrap_err();
            assert!(matches!(error, DiskError::Broken { .. }), "{error:?}");
            for format in [Format::Raw, Format::Qcow2] {
                let request = ConvertRequest::new(&source, &bench.path("ours")).format(format);
                let error = request.run().unwrap_err();
                assert!(matches!(error, DiskError::Broken { .. }), "{error:?}");
            }
        }
    }
    bench.assert_nothing_but(&["raw", "source"]);
}

#[test_on(QemuImg)]
fn no_table_of_a_hostile_qcow2_causes_a_panic_or_a_loop() {
    let bench = Bench::new();
    let file = File::create(bench.path("raw")).unwrap();
    file.write_all_at(&[7; 200_000], 100_000).unwrap();
    for args in [&[][..], &["-c"]] {
        let source = bench.qcow2("source", "compat=1.1,cluster_size=4k", args);
        let good = fs::read(&source).unwrap();
        let mut seed = 3_u64;
        for _ in 0..400 {
            let mut bytes = good.clone();
            for _ in 0..4 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Where the header and the tables are; not the size, which a disk could hold.
                let at = usize::try_from(seed >> 33).unwrap() % (bytes.len().min(24 << 10));
                if !(24..32).contains(&at) {
                    bytes[at] = seed.to_be_bytes()[3];
                }
            }
            fs::write(&source, bytes).unwrap();
            drop(ConvertRequest::new(&source, &bench.path("ours")).format(Format::Raw).run());
            drop(fs::remove_file(bench.path("ours")));
        }
    }
    bench.assert_nothing_but(&["raw", "source"]);
}

fn packed(program: &str, args: &[&str], path: &Path) -> Vec<u8> {
    let output = Command::new(program).args(args).arg("-c").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test_on(QemuImg, Packers)]
fn compressed_images_are_unpacked_whatever_they_are_called() {
    let bench = Bench::new();
    let raw = bench.raw("raw");
    let bytes = fs::read(&raw).unwrap();
    let qcow2 = bench.qcow2("qcow2", "compat=1.1", &[]);
    for (program, args, compression) in [
        ("gzip", &[][..], Compression::Gzip),
        ("xz", &["-1"], Compression::Xz),
        ("xz", &["-1", "--check=none", "--block-size=1MiB"], Compression::Xz),
        ("zstd", &["-q"], Compression::Zstd),
        ("zstd", &["-q", "--ultra", "-22", "--long=27"], Compression::Zstd),
        // Begins with frames that a decoder skips, and has many.
        ("pzstd", &["-q", "-p", "4"], Compression::Zstd),
    ] {
        let source = bench.path("image.vmdk");
        fs::write(&source, packed(program, args, &raw)).unwrap();
        let head = &fs::read(&source).unwrap()[..64];
        assert_eq!(Compression::of(head), Some(compression));
        let mut last = None;
        let mut note = |progress| last = Some(progress);
        let image = ConvertRequest::new(&source, &bench.path("ours"))
            .mode(0o444)
            .on_progress(&mut note)
            .run()
            .unwrap();
        assert_eq!(last.map(|last| last.done_bytes), Some(source.metadata().unwrap().len()));
        assert!(fs::read(bench.path("ours")).unwrap() == bytes, "{program} {args:?}");
        assert!(image.allocated_bytes < 6 * MIB, "{image:?}");
        let mode = bench.path("ours").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);
        fs::remove_file(bench.path("ours")).unwrap();

        fs::write(&source, packed(program, args, &qcow2)).unwrap();
        ConvertRequest::new(&source, &bench.path("ours")).format(Format::Raw).run().unwrap();
        assert!(fs::read(bench.path("ours")).unwrap() == bytes, "{program} {args:?}");
        fs::remove_file(bench.path("ours")).unwrap();
        ConvertRequest::new(&source, &bench.path("ours")).run().unwrap();
        assert!(fs::read(bench.path("ours")).unwrap() == fs::read(&qcow2).unwrap());
        fs::remove_file(bench.path("ours")).unwrap();

        // Cut short, damaged.
        let good = fs::read(&source).unwrap();
        for cut in [good.len() / 2, good.len() - 1] {
            fs::write(&source, &good[..cut]).unwrap();
            let error = ConvertRequest::new(&source, &bench.path("ours")).run().unwrap_err();
            assert!(matches!(error, DiskError::Unpack { .. }), "{program} at {cut}: {error:?}");
        }
    }
    bench.assert_nothing_but(&["raw", "qcow2", "image.vmdk"]);
}

#[test_on(Packers)]
fn what_is_no_image_is_refused_also_if_it_is_compressed() {
    let bench = Bench::new();
    let source = bench.path("source");
    let ours = bench.path("ours");
    fs::write(&source, b"vhdxfile and more").unwrap();
    let packed = packed("gzip", &[], &source);
    fs::write(&source, packed).unwrap();
    let error = ConvertRequest::new(&source, &ours).run().unwrap_err();
    assert!(error.to_string().contains("a VHDX"), "{error}");
    fs::write(&source, b"just some text, of a raw image for all that is known").unwrap();
    let error = ConvertRequest::new(&source, &ours).format(Format::Qcow2).run().unwrap_err();
    assert!(matches!(error, DiskError::OtherFormat { .. }), "{error:?}");
    let error = ConvertRequest::new(bench.directory.path(), &ours).run().unwrap_err();
    assert!(matches!(error, DiskError::NotAnImage { what: "a directory", .. }), "{error:?}");
    fs::write(&source, b"").unwrap();
    let error = ConvertRequest::new(&source, &ours).run().unwrap_err();
    assert!(matches!(error, DiskError::NotAnImage { what: "empty", .. }), "{error:?}");
    assert!(matches!(inspect(&ours), Err(DiskError::Read { .. })));
    bench.assert_nothing_but(&["source"]);
}

/// Regression: what was not recognised was imported as a raw disk of compressed bytes.
#[test_on(Packers)]
fn other_compressions_are_refused_with_the_program_that_unpacks_them() {
    let bench = Bench::new();
    let (raw, source, ours) = (bench.raw("raw"), bench.path("source"), bench.path("ours"));
    let archive = bench.path("disk.zip");
    let mut tried = 0;
    for (program, args, name) in [
        ("xz", &["--format=lzma", "-0"][..], "lzma"),
        ("xz", &["--format=lzma", "-9", "--lzma1=dict=96KiB"], "lzma"),
        ("lz4", &["-q"], "lz4"),
        ("lz4", &["-q", "-l"], "lz4"),
        ("bzip2", &[], "bzip2"),
        ("lzip", &["-0"], "lzip"),
        ("lzop", &[], "lzop"),
        ("compress", &[], "compress"),
    ] {
        if Command::new(program).arg("--version").output().is_err() {
            continue;
        }
        tried += 1;
        fs::write(&source, packed(program, args, &raw)).unwrap();
        for error in [
            inspect(&source).unwrap_err(),
            ConvertRequest::new(&source, &ours).run().unwrap_err(),
            virshle_disk::CloneRequest::new(&source, &ours).run().unwrap_err(),
        ] {
            assert!(error.to_string().contains(name), "{program} {args:?}: {error}");
            assert!(error.hint().unwrap().contains("unpack it first"), "{error:?}");
        }
        // Twice packed is not unpacked once.
        fs::write(&archive, packed("gzip", &[], &source)).unwrap();
        let error = ConvertRequest::new(&archive, &ours).run().unwrap_err();
        assert!(error.to_string().contains(name), "{program} {args:?}: {error}");
    }
    assert!(tried >= 2, "xz is here");
    bench.assert_nothing_but(&["raw", "source", "disk.zip"]);
}

/// Regression: the hint was to fetch it again, which would have failed again.
#[test_on(Packers)]
fn what_takes_too_much_memory_is_reported_as_that() {
    let bench = Bench::new();
    let source = bench.path("source");
    // Its window is as large as its content, and that is known before it is read.
    File::create(bench.path("raw")).unwrap().set_len(300 * MIB).unwrap();
    for (program, args, remedy) in [
        ("zstd", &["-q", "--long=31"][..], "zstd -d --long=31"),
        ("xz", &["-0", "--lzma2=preset=0,dict=1536MiB", "-M", "max"], "xz -d"),
    ] {
        fs::write(&source, packed(program, args, &bench.path("raw"))).unwrap();
        let error = ConvertRequest::new(&source, &bench.path("ours")).run().unwrap_err();
        assert!(matches!(error, DiskError::Unpack { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains(remedy), "{error:?}");
    }
    bench.assert_nothing_but(&["raw", "source"]);
}

#[test_on(Reflink, QemuImg, Packers)]
fn reflink_or_not_a_full_disk_leaves_nothing_of_a_conversion() {
    let bench = Bench::new();
    fs::write(bench.path("raw"), b"all work\0and no play ".repeat(3 << 20)).unwrap();
    let qcow2 = bench.qcow2("qcow2", "compat=1.1", &["-c"]);
    let packed = bench.path("packed");
    fs::write(&packed, self::packed("zstd", &["-q"], &bench.path("raw"))).unwrap();
    let filesystem = LoopFilesystem::ext4(32 * MIB).unwrap();
    let before = fs::read_dir(filesystem.path()).unwrap().count();
    let ours = filesystem.path().join("ours");
    // What it needs is known beforehand, or not.
    let error = ConvertRequest::new(&qcow2, &ours).format(Format::Raw).run().unwrap_err();
    assert!(matches!(error, DiskError::NoRoom { .. }), "{error:?}");
    let error = ConvertRequest::new(&packed, &ours).run().unwrap_err();
    assert!(matches!(error, DiskError::Write { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("room"), "{error:?}");
    assert_eq!(fs::read_dir(filesystem.path()).unwrap().count(), before);
    // On one filesystem a raw image is not copied.
    let filesystem = LoopFilesystem::xfs(400 * MIB).unwrap();
    let source = filesystem.path().join("raw");
    fs::copy(bench.path("raw"), &source).unwrap();
    let free = || {
        rustix::fs::sync();
        let space = rustix::fs::statvfs(filesystem.path()).unwrap();
        space.f_bfree * space.f_frsize
    };
    let before = free();
    ConvertRequest::new(&source, &filesystem.path().join("ours")).run().unwrap();
    assert!(before - free() < 8 * MIB);
}
