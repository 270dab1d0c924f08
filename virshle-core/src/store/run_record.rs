//! The record of a machine's run, `run.json`.
//!
//! It holds what cannot be read off cloud-hypervisor: whether a start was finished, whether its end
//! was asked for and by whom, when it began, and on which boot of the host this was.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use virshle_hypervisor::open_untrusted_with;

use crate::fs::error::FileError;
use crate::fs::file::{Sync, read_untrusted, remove_if_there, replace, sync};
use crate::fs::uptime::uptime;
use crate::model::run::{LastExit, Run};
use crate::model::timestamp::Timestamp;
use crate::store::error::StoreError;
use crate::store::layout::RUN_RECORD;

/// The most of the file that is read, in bytes: it has some 150.
const MAX_BYTES: u64 = 64 << 10;

/// The record in `directory`, if there is one that can be read.
pub(crate) fn read(directory: &Path) -> Option<Run> {
    serde_json::from_slice(&read_untrusted(&directory.join(RUN_RECORD), MAX_BYTES).ok()?).ok()
}

/// Replaces the record. After a power failure it is this one or the one before, never a part.
pub(crate) fn write(run: &Run, directory: &Path) -> Result<(), StoreError> {
    Ok(replace(&directory.join(RUN_RECORD), &to_json(run)?, Sync::Yes)?)
}

/// Records that a start has begun: for the next process, not yet for a power failure.
///
/// `config` is the configuration's file, for those who look after the run once it has ended.
pub(crate) fn begin(
    directory: &Path,
    config: Option<&Path>,
    ssh_port: Option<u16>,
) -> Result<Run, StoreError> {
    let run = Run {
        began: Some(Timestamp::now()),
        began_uptime: u64::try_from(uptime().as_millis()).ok(),
        config: config.map(ToOwned::to_owned),
        ssh_port,
        ..Run::starting(boot_id())
    };
    replace(&directory.join(RUN_RECORD), &with_room(&run)?, Sync::No)?;
    Ok(run)
}

/// What a run has more to say once its start is done: `"pid":4294967295,`.
const ROOM: usize = 24;

/// The record of a run that starts, as long as it will be when the start is done: JSON ends in as much
/// white space as one likes.
fn with_room(run: &Run) -> Result<Vec<u8>, StoreError> {
    let mut text = to_json(run)?;
    text.resize(text.len() + ROOM, b' ');
    Ok(text)
}

/// Makes what [`begin`] recorded outlast a power failure, which is then known to have ended the run.
pub(crate) fn keep(directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(RUN_RECORD);
    let kept = sync(&path).and_then(|()| sync(directory));
    Ok(kept.map_err(FileError::writing(&path))?)
}

/// Records that the start of `run` was done, in the place of what [`begin`] recorded and of the same
/// length: so nothing has to be waited for. A power failure leaves the one or the other.
pub(crate) fn end_start(run: &Run, pid: u32, directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(RUN_RECORD);
    let mut text = to_json(&Run { pid: Some(pid), ..run.clone().started() })?;
    text.resize(with_room(run)?.len().max(text.len()), b' ');
    let write =
        || open_untrusted_with(&path, OpenOptions::new().write(true))?.write_all_at(&text, 0);
    Ok(write().map_err(FileError::writing(&path))?)
}

/// Puts back what was there before a start that failed.
pub(crate) fn restore(previous: Option<&Run>, directory: &Path) -> Result<(), StoreError> {
    let path = directory.join(RUN_RECORD);
    match previous {
        Some(run) => write(run, directory),
        None => Ok(remove_if_there(&path).map_err(FileError::writing(&path))?),
    }
}

/// How the recorded run ended, given that it did; `deduce` is called when the record does not show it.
pub(crate) fn exit(run: &Run, deduce: impl FnOnce() -> LastExit) -> LastExit {
    run.exit(&boot_id(), deduce)
}

/// How long the recorded run has lasted by now.
pub(crate) fn lasted(run: &Run) -> Option<Duration> {
    run.lasted(&boot_id(), uptime())
}

fn to_json(run: &Run) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(run).map_err(|source| StoreError::Encode { source })
}

/// The host's boot: another one after every start of it.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_recorded_in_two_steps() {
        let directory = tempfile::tempdir().unwrap();
        let config = Path::new("/etc/c.toml");
        let run = begin(directory.path(), Some(config), Some(2222)).unwrap();
        assert_eq!(read(directory.path()), Some(run.clone()));
        keep(directory.path()).unwrap();
        let length = || std::fs::metadata(directory.path().join(RUN_RECORD)).unwrap().len();
        let before = length();
        end_start(&run, u32::MAX, directory.path()).unwrap();
        let started = Run { pid: Some(u32::MAX), ..run.started() };
        assert_eq!(read(directory.path()), Some(started));
        assert_eq!(length(), before, "written in place");
    }

    #[test]
    fn a_failed_start_leaves_the_record_of_the_run_before() {
        let directory = tempfile::tempdir().unwrap();
        let starting = Run::starting(boot_id());
        let before = Run { ended: Some(LastExit::Guest), ..starting.clone() };
        write(&starting, directory.path()).unwrap();
        restore(Some(&before), directory.path()).unwrap();
        assert_eq!(read(directory.path()), Some(before));
        restore(None, directory.path()).unwrap();
        assert_eq!(read(directory.path()), None);
    }
}
