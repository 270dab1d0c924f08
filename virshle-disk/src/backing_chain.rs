//! The images that an image depends on: its backing file, that one's, and so on.

use std::path::Path;

use crate::DiskError;
use crate::image::Opened;

/// The longest chain of backing files: a longer one is likely a circle.
const MAX_CHAIN: usize = 16;

/// The backing files of `top`, the uppermost first.
pub(crate) fn backing_chain(top: &Opened) -> Result<Vec<Opened>, DiskError> {
    let mut chain: Vec<Opened> = Vec::new();
    loop {
        let upper = chain.last().unwrap_or(top);
        let Some(backing) = &upper.image.backing_file else { return Ok(chain) };
        if chain.len() == MAX_CHAIN {
            let reason = format!("it has a chain of more than {MAX_CHAIN} backing files");
            return Err(DiskError::Broken { path: top.path.clone(), reason });
        }
        // A relative name begins at the directory of the image that has it.
        let path = upper.path.parent().unwrap_or(Path::new("")).join(backing);
        let format = upper.header.as_ref().and_then(|header| header.backing_format.as_deref());
        // One that is recorded as raw is: its guest may have written anything into it.
        let opened = match format {
            Some("raw") => Opened::open_raw(&path)?,
            _ => Opened::open(&path)?,
        };
        chain.push(opened);
    }
}
