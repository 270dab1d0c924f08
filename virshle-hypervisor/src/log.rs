//! cloud-hypervisor's log file.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::HypervisorError;
use crate::untrusted_file::open_untrusted;

/// The most that is read of a log.
const MAX_TAIL: u64 = 64 << 10;

/// The last lines of cloud-hypervisor's log that say something, oldest first; none if it can't be
/// read.
pub fn last_lines(log: &Path, lines: usize) -> Vec<String> {
    let text = match read_end(log) {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(%error, log = %log.display(), "cannot read the log");
            return Vec::new();
        }
    };
    let mut lines: Vec<_> = text
        .lines()
        .rev()
        .map(|line| line.trim_end().replace(char::is_control, " "))
        .filter(|line| !line.trim().is_empty())
        .take(lines)
        .collect();
    lines.reverse();
    lines
}

/// The end of a log.
pub(crate) fn read_end(log: &Path) -> io::Result<String> {
    let mut file = open_untrusted(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_TAIL)))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Keeps the file `path` of an earlier run as `path` with `.1` after it.
pub(crate) fn rotate(path: &Path) -> Result<(), HypervisorError> {
    let mut old = path.as_os_str().to_owned();
    old.push(".1");
    match fs::rename(path, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(HypervisorError::Log { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_with_text() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("ch.log");
        std::fs::write(&log, b"one\ntwo\n\n  \nthree\x07\xff\n").unwrap();
        assert_eq!(last_lines(&log, 2), ["two", "three \u{fffd}"]);
        assert_eq!(last_lines(&directory.path().join("absent"), 2), [""; 0]);
    }
}
