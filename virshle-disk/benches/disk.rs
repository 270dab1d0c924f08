//! `cargo bench -p virshle-disk`: looking at images, and copying their data. In `TMPDIR`.
#![expect(clippy::unwrap_used, reason = "a bench that can't begin has nothing to tell")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use tempfile::TempDir;
use virshle_disk::{CloneMode, CloneRequest, inspect};

fn main() {
    divan::main();
}

/// A raw image of 1 GiB with data in `extents` places, 64 KiB each.
fn image(directory: &TempDir, extents: u64) -> PathBuf {
    let path = directory.path().join("image.raw");
    let file = File::create(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    for place in 0..extents {
        file.write_all_at(&[7; 64 << 10], place * (1 << 30) / extents / 4096 * 4096).unwrap();
    }
    path
}

/// Creates a disk of `image` again and again.
fn clone(bencher: Bencher<'_, '_>, mode: CloneMode, extents: u64) {
    let directory = tempfile::tempdir().unwrap();
    let image = image(&directory, extents);
    let disk = directory.path().join("disk");
    bencher.counter(BytesCount::new(extents << 16)).bench_local(|| {
        let made = CloneRequest::new(&image, &disk).mode(mode).run().unwrap();
        std::fs::remove_file(&disk).unwrap();
        made
    });
}

#[divan::bench(args = [1, 16, 256], sample_count = 20)]
fn copy(bencher: Bencher<'_, '_>, extents: u64) {
    clone(bencher, CloneMode::Copy, extents);
}

#[divan::bench(sample_count = 50)]
fn overlay(bencher: Bencher<'_, '_>) {
    clone(bencher, CloneMode::Overlay, 1);
}

#[divan::bench]
fn raw_header(bencher: Bencher<'_, '_>) {
    let directory = tempfile::tempdir().unwrap();
    let image = image(&directory, 1);
    bencher.bench_local(|| inspect(black_box(&image)).unwrap());
}

#[divan::bench]
fn qcow2_header(bencher: Bencher<'_, '_>) {
    let directory = tempfile::tempdir().unwrap();
    let image = image(&directory, 1);
    let disk = directory.path().join("disk");
    CloneRequest::new(&image, &disk).mode(CloneMode::Overlay).run().unwrap();
    bencher.bench_local(|| inspect(black_box(&disk)).unwrap());
}
