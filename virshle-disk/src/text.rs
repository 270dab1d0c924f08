//! Text files, which are no images although anything can be a raw one.

use std::path::Path;
use std::str;

use crate::DiskError;
use crate::image::{Opened, open_untouched};

/// How much of a file is looked at, in bytes: the boot sector and more of any disk.
const LOOKED_AT: u64 = 4096;

/// Refuses a text file in the place of an image: a list of checksums, `/etc/passwd`, what a server
/// sends with an error.
///
/// It is for images that someone names. A disk that a guest has written may begin with text.
///
/// # Errors
///
/// [`DiskError::NotAnImage`]; [`DiskError::Read`].
pub fn refuse_text(path: &Path) -> Result<(), DiskError> {
    let unreadable = |source| DiskError::Read { path: path.to_owned(), source };
    let file = open_untouched(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Ok(());
    }
    refuse_text_of(&Opened::raw(path, file)?)
}

/// The same for an image that is open.
pub(crate) fn refuse_text_of(opened: &Opened) -> Result<(), DiskError> {
    let length = opened.image.file_size_bytes.min(LOOKED_AT);
    let mut head = vec![0; usize::try_from(length).unwrap_or_default()];
    opened
        .read_at(&mut head, 0)
        .map_err(|source| DiskError::Read { path: opened.path.clone(), source })?;
    match is_text(&head) {
        true => Err(DiskError::NotAnImage { path: opened.path.clone(), what: "a text file" }),
        false => Ok(()),
    }
}

/// Whether `head`, the beginning of a file, is that of a text.
fn is_text(head: &[u8]) -> bool {
    let text = match str::from_utf8(head) {
        Ok(text) => text,
        // The last letter may be cut.
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let is_texts = |c: char| !c.is_control() || "\t\n\r\x0c\x1b".contains(c);
    // Blanks alone are no text: a disk may well be full of one byte.
    text.chars().any(|c| !c.is_whitespace()) && text.chars().all(is_texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_what_a_disk_begins_with() {
        for text in
            ["root:x:0:0:root:/root:/bin/bash\n", "404 page not found", "é", "\u{feff}a\r\n"]
        {
            assert!(is_text(text.as_bytes()), "{text}");
        }
        for disk in
            [&[7; 512][..], &[0; 4096], b"", b"text\0", b"\xeb\x63\x90", b"\xff\xfe", &[0xe5; 99]]
        {
            assert!(!is_text(disk), "{disk:?}");
        }
    }

    #[test]
    fn a_letter_that_is_cut_makes_no_difference() {
        let text = "é".repeat(4096);
        assert!(is_text(&text.as_bytes()[..4095]));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("text");
        std::fs::write(&path, format!("a{text}")).unwrap();
        assert!(matches!(refuse_text(&path), Err(DiskError::NotAnImage { .. })));
        // What is no file is another check's.
        refuse_text(directory.path()).unwrap();
        refuse_text(Path::new("/dev/zero")).unwrap();
    }
}
