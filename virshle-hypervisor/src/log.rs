//! cloud-hypervisor's log file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Mode, fchmod};

use crate::HypervisorError;
use crate::untrusted_file::{open_untrusted, open_untrusted_with};

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

/// The lines of cloud-hypervisor's log that a failure is understood by, oldest first: the last `lines`
/// of all, and the last `lines` that are not [routine](is_routine), which may be further up.
pub fn failure_lines(log: &Path, lines: usize) -> Vec<String> {
    let all = last_lines(log, usize::MAX);
    let mut telling = lines;
    let mut kept: Vec<String> = Vec::new();
    for (place, line) in all.into_iter().rev().enumerate() {
        let tells = telling > 0 && !is_routine(&line);
        if tells || place < lines {
            telling -= usize::from(tells);
            kept.push(line);
        }
    }
    kept.reverse();
    kept
}

/// Whether a line of cloud-hypervisor's log reports what happens in every run: its level is INFO or
/// below. What has no level, as a panic and what is written before there is a log, is not routine.
pub fn is_routine(line: &str) -> bool {
    const LEVELS: [&str; 3] = ["INFO:", "DEBUG:", "TRACE:"];
    let Some((_, rest)) =
        line.strip_prefix("cloud-hypervisor: ").unwrap_or_default().split_once("> ")
    else {
        return false;
    };
    LEVELS.iter().any(|level| rest.starts_with(level))
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

/// Begins a log, and keeps the one before it.
pub(crate) fn open_log(path: &Path) -> Result<File, HypervisorError> {
    open_log_with(path, OpenOptions::new().append(true))
}

/// Begins a log that is read as well, for what cuts it.
pub(crate) fn open_kept_log(path: &Path) -> Result<File, HypervisorError> {
    open_log_with(path, OpenOptions::new().read(true).append(true))
}

fn open_log_with(path: &Path, options: &mut OpenOptions) -> Result<File, HypervisorError> {
    // Appending, because output and errors come through descriptors of their own.
    options.create(true).mode(0o600);
    let failed = |source| HypervisorError::Log { path: path.to_owned(), source };
    if path == Path::new("/dev/null") {
        return options.open(path).map_err(failed);
    }
    rotate(path)?;
    let opened = open_untrusted_with(path, options).and_then(|file| {
        // Whatever the umask says.
        fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        Ok(file)
    });
    opened.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_of_a_failure_is_kept_and_marked() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("ch.log");
        let info = |number: usize| {
            format!(
                "cloud-hypervisor:   0.00{number}s: <vmm> INFO:vmm/src/lib.rs:1 -- step {number}"
            )
        };
        let error = "cloud-hypervisor:   0.001s: <vmm> ERROR:vmm/src/lib.rs:2 -- it broke";
        let panic = "thread 'vmm' panicked at src/lib.rs:3: no > INFO: here";
        let mut lines = vec![error.to_owned(), panic.to_owned()];
        lines.extend((0..20).map(info));
        std::fs::write(&log, lines.join("\n")).unwrap();
        let kept = failure_lines(&log, 2);
        assert_eq!(kept, [error.to_owned(), panic.to_owned(), info(18), info(19)]);
        let routine: Vec<bool> = kept.iter().map(|line| is_routine(line)).collect();
        assert_eq!(routine, [false, false, true, true]);
        assert_eq!(failure_lines(&log, 30).len(), 22);
        assert!(!is_routine("cloud-hypervisor: 1s: <vmm> WARN:a.rs:1 -- INFO:") && !is_routine(""));
    }

    #[test]
    fn the_tail_is_the_last_lines_with_text() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("ch.log");
        std::fs::write(&log, b"one\ntwo\n\n  \nthree\x07\xff\n").unwrap();
        assert_eq!(last_lines(&log, 2), ["two", "three \u{fffd}"]);
        assert_eq!(last_lines(&directory.path().join("absent"), 2), [""; 0]);
    }
}
