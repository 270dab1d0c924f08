//! Imports an image into a cache, and prints what is there: `image_cache DIRECTORY FILE-OR-URL`.
//!
//! Without arguments it imports a compressed file into a cache in a temporary directory, and
//! removes the image again.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;

use virshle_image::{Dependent, ImageCache, ImageError, ImageInfo, ImportRequest, ImportSource};

/// A gzip file of one sector, which begins with `virshle`.
const COMPRESSED: [u8; 32] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 43, 203, 44, 42, 206, 200, 73, 101, 24, 5, 35, 19, 0, 0, 4,
    122, 172, 216, 0, 2, 0, 0,
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    if let (Some(directory), Some(source)) = (arguments.next(), arguments.next()) {
        import(&ImageCache::new(directory), source.parse()?)?;
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("tiny.raw.gz");
    std::fs::write(&file, COMPRESSED)?;
    let cache = ImageCache::new(directory.path().join("cache"));
    let image = import(&cache, ImportSource::File(file))?;

    let name = image.name.parse()?;
    let overlay = || Ok(vec![Dependent::new("machine web", &image.path)]);
    if let Err(error @ ImageError::ImageInUse { .. }) = cache.remove(&name, overlay) {
        println!("refused: {error}");
    }
    cache.remove(&name, || Ok::<_, ImageError>(Vec::new()))?;
    println!("removed {name}: {} images left", cache.list(&[])?.images.len());
    Ok(())
}

fn import(cache: &ImageCache, source: ImportSource) -> Result<ImageInfo, Box<dyn Error>> {
    let image = cache.import(&ImportRequest::new(source), &mut |progress| {
        println!("{:?}: {} bytes", progress.step, progress.done_bytes);
    })?;
    for image in cache.list(&[])?.images {
        println!(
            "{}: {}, {} bytes in {}",
            image.name,
            image.format,
            image.size,
            image.path.display()
        );
    }
    Ok(image)
}
