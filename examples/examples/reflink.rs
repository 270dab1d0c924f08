//! A copy tool that shares what it can: `reflink SOURCE… DIRECTORY` clones images into a directory, by reflinks where
//! the filesystem has them, and shows how far a copy is where it has not.
//!
//! Without arguments it clones an image of its own in a temporary directory.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use virshle_disk::{CloneRequest, Progress, allocated_bytes, supports_reflink};

fn main() -> Result<(), Box<dyn Error>> {
    let mut sources: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let own = tempfile::tempdir()?;
    let directory = match sources.pop() {
        Some(directory) if !sources.is_empty() => directory,
        _ => {
            let image = own.path().join("image.raw");
            std::fs::write(&image, vec![7; 8 << 20])?;
            sources = vec![image];
            own.path().join("clones")
        }
    };
    std::fs::create_dir_all(&directory)?;
    let how = if supports_reflink(&directory)? { "has reflinks" } else { "has none: copies" };
    println!("{} {how}", directory.display());
    for source in &sources {
        let name = source.file_name().ok_or("a source needs a name")?;
        clone(source, &directory.join(name))?;
    }
    Ok(())
}

fn clone(source: &Path, destination: &Path) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let name = destination.display();
    let mut shown = 0;
    let mut progress = |progress: Progress| {
        // A call for every few megabytes: only whole percents are shown.
        let percent = progress.done_bytes * 100 / progress.total_bytes.max(1);
        if percent > shown {
            shown = percent;
            print!("\r{name}: {percent} %");
            drop(std::io::stdout().flush());
        }
    };
    let disk = CloneRequest::new(source, destination).on_progress(&mut progress).run()?;
    let taken = allocated_bytes(destination)?;
    println!(
        "\r{name}: {} in {} ms, {taken} bytes on disk",
        disk.method,
        began.elapsed().as_millis()
    );
    Ok(())
}
