//! Copies on real filesystems.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use virshle_disk::{
    CloneMethod, CloneMode, CloneRequest, ConvertRequest, DiskError, Format, ReflinkObstacle,
    SeedRequest, allocated_bytes, create_empty, supports_reflink,
};
use virshle_testkit::{FuseFilesystem, LoopFilesystem};
use virshle_testkit_macros::test_on;

const MIB: u64 = 1 << 20;

/// An image of `size_bytes` with some data and many holes.
fn image(path: &Path, size_bytes: u64) -> Vec<u8> {
    let file = File::create(path).unwrap();
    file.set_len(size_bytes).unwrap();
    for at in (0..size_bytes).step_by(16 << 20) {
        file.write_all_at(&vec![at.to_be_bytes()[4] | 1; 256 << 10], at).unwrap();
    }
    file.sync_all().unwrap();
    fs::read(path).unwrap()
}

fn stamp(path: &Path) -> (i64, i64, i64, u64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime_nsec(), metadata.size())
}

fn used(filesystem: &LoopFilesystem) -> u64 {
    let space = rustix::fs::statvfs(filesystem.path()).unwrap();
    (space.f_blocks - space.f_bfree) * space.f_frsize
}

/// Ten copies by `mode`: the image stays as it is, each copy has its bytes and is grown.
fn ten_copies(directory: &Path, mode: CloneMode) -> CloneMethod {
    let source = directory.join("image.raw");
    let bytes = image(&source, 64 * MIB);
    let before = stamp(&source);
    let mut method = None;
    for number in 0..10 {
        let path = directory.join(format!("disk{number}"));
        let disk =
            CloneRequest::new(&source, &path).mode(mode).size_bytes(100 * MIB).run().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 100 * MIB);
        assert_eq!(&fs::read(&path).unwrap()[..bytes.len()], &bytes);
        method = Some(disk.method);
    }
    assert_eq!(stamp(&source), before);
    assert_eq!(fs::read(&source).unwrap(), bytes);
    method.unwrap()
}

#[test_on(Reflink)]
fn reflink_shares_the_images_extents_and_leaves_it_alone() {
    for filesystem in
        [LoopFilesystem::xfs(512 * MIB).unwrap(), LoopFilesystem::btrfs(512 * MIB).unwrap()]
    {
        let directory = filesystem.path();
        assert!(supports_reflink(&directory).unwrap());
        let before = used(&filesystem);
        assert_eq!(ten_copies(&directory, CloneMode::Auto), CloneMethod::Reflink);
        rustix::fs::sync();
        // The image holds 1 MiB; ten copies of it would hold ten.
        assert!(used(&filesystem) < before + 8 * MIB, "{} to {}", before, used(&filesystem));
    }
}

#[test_on(Reflink)]
fn reflink_that_cannot_be_is_an_error_or_a_sparse_copy_as_asked() {
    let filesystem = LoopFilesystem::ext4(256 * MIB).unwrap();
    let directory = filesystem.path();
    assert!(!supports_reflink(&directory).unwrap());
    assert_eq!(ten_copies(&directory, CloneMode::Auto), CloneMethod::Copy);
    let source = directory.join("image.raw");
    let most = allocated_bytes(&source).unwrap();
    assert!(allocated_bytes(&directory.join("disk0")).unwrap() <= most);
    let before = fs::read_dir(&directory).unwrap().count();
    let request = CloneRequest::new(&source, &directory.join("no")).mode(CloneMode::Reflink);
    let error = request.run().unwrap_err();
    assert!(matches!(error, DiskError::Reflink { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("btrfs or xfs"));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), before);
}

/// Regression: the hint was to keep both on one btrfs, where they were.
#[test_on(Reflink)]
fn reflink_between_files_with_and_without_copy_on_write_has_an_error_of_its_own() {
    let filesystem = LoopFilesystem::btrfs(256 * MIB).unwrap();
    let at = |name: &str| filesystem.path().join(name);
    let exempt = |directory: &Path| {
        let flags = rustix::fs::IFlags::NOCOW;
        rustix::fs::ioctl_setflags(File::open(directory).unwrap(), flags).unwrap();
    };
    for directory in ["plain", "exempt", "also-exempt"] {
        fs::create_dir(at(directory)).unwrap();
    }
    exempt(&at("exempt"));
    exempt(&at("also-exempt"));
    let clone = |from: &str, to: &str, mode| {
        let (source, path) = (at(from).join("image"), at(to).join("disk"));
        image(&source, 16 * MIB);
        CloneRequest::new(&source, &path).mode(mode).run()
    };
    for (from, to) in [("plain", "exempt"), ("exempt", "plain")] {
        let error = clone(from, to, CloneMode::Reflink).unwrap_err();
        let obstacle = ReflinkObstacle::NoCopyOnWrite;
        assert!(
            matches!(error, DiskError::Reflink { obstacle: found, .. } if found == obstacle),
            "{error:?}"
        );
        assert!(error.hint().unwrap().contains("chattr"), "{error:?}");
        assert_eq!(clone(from, to, CloneMode::Auto).unwrap().method, CloneMethod::Copy);
    }
    // Of two filesystems that is not what keeps them apart.
    let other = LoopFilesystem::ext4(256 * MIB).unwrap();
    let request = CloneRequest::new(&at("exempt/image"), &other.path().join("disk"));
    let error = request.mode(CloneMode::Reflink).run().unwrap_err();
    assert!(error.hint().unwrap().contains("one btrfs or xfs"), "{error:?}");
    // What the hint leads to.
    let disk = clone("exempt", "also-exempt", CloneMode::Reflink).unwrap();
    assert_eq!(disk.method, CloneMethod::Reflink);
}

#[test_on(Reflink)]
fn reflink_less_a_full_disk_leaves_nothing() {
    let elsewhere = tempfile::tempdir().unwrap();
    let source = elsewhere.path().join("image.raw");
    fs::write(&source, vec![7; 64 << 20]).unwrap();
    let filesystem = LoopFilesystem::ext4(32 * MIB).unwrap();
    let before = fs::read_dir(filesystem.path()).unwrap().count();
    let path = filesystem.path().join("disk");
    let error = CloneRequest::new(&source, &path).run().unwrap_err();
    assert!(matches!(error, DiskError::NoRoom { .. }), "{error:?}");
    assert_eq!(fs::read_dir(filesystem.path()).unwrap().count(), before);
    // Room that goes while the copy is created: the last of it is taken by another file.
    let small = elsewhere.path().join("small.raw");
    fs::write(&small, vec![7; 20 << 20]).unwrap();
    let hog = filesystem.path().join("hog");
    let mut filled = false;
    let mut fill = |_: virshle_disk::Progress| {
        if !filled {
            filled = true;
            let file = File::create(&hog).unwrap();
            let mut at = 0;
            while file.write_all_at(&[1; 64 << 10], at).is_ok() {
                at += 64 << 10;
            }
        }
    };
    let result = CloneRequest::new(&small, &path).on_progress(&mut fill).run();
    let error = result.unwrap_err();
    assert!(matches!(error, DiskError::Write { .. }), "{error:?}");
    assert!(!path.exists());
}

#[test]
fn an_image_that_changes_while_it_is_copied_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("image.raw");
    fs::write(&source, vec![7; 32 << 20]).unwrap();
    let path = directory.path().join("disk");
    let mut change = |_: virshle_disk::Progress| {
        File::options().append(true).open(&source).unwrap().set_len(33 << 20).unwrap();
    };
    let request = CloneRequest::new(&source, &path).mode(CloneMode::Copy);
    let error = request.on_progress(&mut change).run().unwrap_err();
    assert!(matches!(error, DiskError::Changed { .. }), "{error:?}");
    assert!(!path.exists());
}

/// Regression: nothing could be created on filesystems that have neither files without a name nor
/// renames that replace nothing, and what was begun there stayed under a hidden name.
#[test_on(Fuse)]
fn fuse_disks_are_created_whole_and_replace_nothing() {
    let filesystem = FuseFilesystem::mount().unwrap();
    let at = |name: &str| filesystem.path().join(name);
    let bytes = image(&at("image"), 32 * MIB);
    assert!(!supports_reflink(&filesystem.path()).unwrap());
    for mode in [CloneMode::Auto, CloneMode::Copy, CloneMode::Overlay] {
        let disk = at(mode.as_str());
        CloneRequest::new(&at("image"), &disk).mode(mode).run().unwrap();
        let flat = at("flat");
        let request = ConvertRequest::new(&disk, &flat).format(Format::Raw);
        request.backing_file(virshle_disk::BackingFile::Follow).run().unwrap();
        assert!(fs::read(&flat).unwrap() == bytes, "{mode}");
        fs::remove_file(flat).unwrap();
    }
    create_empty(&at("empty"), MIB).unwrap();
    SeedRequest::new(&at("seed")).file("meta-data", "{}").write().unwrap();
    let names = ["auto", "copy", "empty", "image", "overlay", "seed"];
    assert_eq!(filesystem.names().unwrap(), names);

    // A failure half-way, and a name that is given to another file meanwhile.
    let mut cut = |_: virshle_disk::Progress| {
        File::options().write(true).open(at("image")).unwrap().set_len(MIB).unwrap();
    };
    let request = CloneRequest::new(&at("image"), &at("late")).mode(CloneMode::Copy);
    let error = request.on_progress(&mut cut).run().unwrap_err();
    assert!(matches!(error, DiskError::Changed { .. }), "{error:?}");
    assert_eq!(filesystem.names().unwrap(), names);
    let mut occupy = |_: virshle_disk::Progress| fs::write(at("late"), "first").unwrap();
    let request = CloneRequest::new(&at("image"), &at("late")).mode(CloneMode::Copy);
    let error = request.on_progress(&mut occupy).run().unwrap_err();
    assert!(error.hint().unwrap().contains("never replaced"), "{error:?}");
    assert_eq!(fs::read(at("late")).unwrap(), b"first");
    assert_eq!(filesystem.names().unwrap().len(), names.len() + 1);
}
