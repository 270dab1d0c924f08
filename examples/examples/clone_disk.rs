//! Creates a private copy of an image: `clone_disk IMAGE DISK [SIZE_IN_BYTES]`.
//!
//! Without arguments it makes an image of its own in a temporary directory and clones that.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::path::{Path, PathBuf};

use virshle_disk::{CloneRequest, inspect, supports_reflink};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    if let (Some(image), Some(disk)) = (arguments.next(), arguments.next()) {
        let size = arguments.next().map(|size| size.display().to_string().parse()).transpose()?;
        return clone(&image, &disk, size);
    }
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("image.raw");
    std::fs::write(&image, vec![7; 1 << 20])?;
    println!("reflinks in {}: {}", directory.path().display(), supports_reflink(directory.path())?);
    clone(&image, &directory.path().join("disk.raw"), Some(10 << 20))
}

fn clone(image: &Path, disk: &Path, size: Option<u64>) -> Result<(), Box<dyn Error>> {
    let mut progress = |progress: virshle_disk::Progress| {
        println!("copied {} of {} bytes", progress.done_bytes, progress.total_bytes);
    };
    let mut request = CloneRequest::new(image, disk).on_progress(&mut progress);
    if let Some(size) = size {
        request = request.size_bytes(size);
    }
    let made = request.run()?;
    let found = inspect(disk)?;
    println!(
        "{}: {} by {}, the guest sees {} bytes, {} are allocated",
        disk.display(),
        made.format,
        made.method,
        found.virtual_size_bytes,
        found.allocated_bytes
    );
    Ok(())
}
