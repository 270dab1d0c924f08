//! One run of a machine: when it began, how far its start got, and how it ended.
//!
//! `run.json` says what cannot be read off cloud-hypervisor: whether a start was finished, whether
//! somebody asked for the end, and on which boot of the host this was.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::CoreError;
use crate::store::{Sync, replace, sync_file, sync_folder};

/// The file, in the machine's folder.
pub(crate) const FILE: &str = "run.json";

/// How the last run of a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LastExit {
    /// The guest powered itself off.
    Guest,
    /// Stopped by its power button, as asked.
    Stopped,
    /// Its power was cut, as asked.
    Forced,
    /// Its VMM ended without being asked to.
    Crashed,
    /// The host went down under it.
    Host,
    /// Nothing tells.
    Unknown,
}

impl LastExit {
    /// The word in JSON and in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Stopped => "stopped",
            Self::Forced => "forced",
            Self::Crashed => "crashed",
            Self::Host => "host",
            Self::Unknown => "unknown",
        }
    }
}

/// How far a start got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Somebody works on it, or died while doing so.
    Starting,
    /// It was done.
    Started,
}

/// The record of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The host's boot, from `/proc/sys/kernel/random/boot_id`.
    pub(crate) boot_id: String,
    pub(crate) phase: Phase,
    /// What somebody asked for, before it happened.
    #[serde(default)]
    pub(crate) asked: Option<LastExit>,
    /// How it ended, once that is known for good.
    #[serde(default)]
    pub(crate) ended: Option<LastExit>,
}

impl Run {
    pub(crate) fn starting() -> Self {
        Self { boot_id: boot_id(), phase: Phase::Starting, asked: None, ended: None }
    }

    /// The record in `folder`, if there is one that can be read.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()
    }

    /// Replaces the record. After a power failure it is this one or the one before, never a part.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), CoreError> {
        replace(&folder.join(FILE), &self.to_json()?, Sync::Yes)
    }

    /// Notes that a start has begun: for whoever comes after, not yet for a power failure.
    pub(crate) fn begin(folder: &Path) -> Result<Self, CoreError> {
        let run = Self::starting();
        replace(&folder.join(FILE), &run.to_json()?, Sync::No)?;
        Ok(run)
    }

    /// Makes what [`Run::begin`] noted outlast a power failure, which is then known to have ended
    /// the run.
    pub(crate) fn keep(folder: &Path) -> Result<(), CoreError> {
        let path = folder.join(FILE);
        sync_file(&path)
            .and_then(|()| sync_folder(folder))
            .map_err(|source| CoreError::Write { path, source })
    }

    /// Notes that the start was done, in the place of what [`Run::begin`] noted and of the same
    /// length: so nothing has to be waited for. A power failure leaves the one or the other.
    pub(crate) fn end_start(&self, folder: &Path) -> Result<(), CoreError> {
        let path = folder.join(FILE);
        let mut text = Self { phase: Phase::Started, ..self.clone() }.to_json()?;
        // JSON ends in as much white space as one likes.
        text.resize(self.to_json()?.len(), b' ');
        let write = || File::options().write(true).open(&path)?.write_all_at(&text, 0);
        write().map_err(|source| CoreError::Write { path, source })
    }

    fn to_json(&self) -> Result<Vec<u8>, CoreError> {
        serde_json::to_vec(self).map_err(|source| CoreError::Json { source })
    }

    /// Puts back what was there before a start that failed.
    pub(crate) fn restore(previous: Option<&Self>, folder: &Path) -> Result<(), CoreError> {
        match previous {
            Some(run) => run.write(folder),
            None => match std::fs::remove_file(folder.join(FILE)) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(CoreError::Write { path: folder.join(FILE), source })
                }
                _ => Ok(()),
            },
        }
    }

    /// How the run ended, given that it did; `witness` is asked when the record does not know.
    pub(crate) fn exit(&self, witness: impl FnOnce() -> LastExit) -> LastExit {
        if let Some(ended) = self.ended.or(self.asked) {
            ended
        } else if self.boot_id != boot_id() {
            LastExit::Host
        } else {
            witness()
        }
    }
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
    fn what_was_asked_for_decides_before_the_witness() {
        let mut run = Run::starting();
        assert_eq!(run.exit(|| LastExit::Guest), LastExit::Guest);
        run.boot_id = "another".into();
        assert_eq!(run.exit(|| LastExit::Guest), LastExit::Host);
        run.asked = Some(LastExit::Stopped);
        assert_eq!(run.exit(|| LastExit::Guest), LastExit::Stopped);
    }

    #[test]
    fn a_start_is_noted_in_two_steps() {
        let folder = tempfile::tempdir().unwrap();
        let run = Run::begin(folder.path()).unwrap();
        assert_eq!(Run::read(folder.path()), Some(run.clone()));
        Run::keep(folder.path()).unwrap();
        run.end_start(folder.path()).unwrap();
        assert_eq!(Run::read(folder.path()), Some(Run { phase: Phase::Started, ..run.clone() }));
    }

    #[test]
    fn a_failed_start_leaves_the_record_of_the_run_before() {
        let folder = tempfile::tempdir().unwrap();
        let before = Run { ended: Some(LastExit::Guest), ..Run::starting() };
        Run::starting().write(folder.path()).unwrap();
        Run::restore(Some(&before), folder.path()).unwrap();
        assert_eq!(Run::read(folder.path()), Some(before));
        Run::restore(None, folder.path()).unwrap();
        assert_eq!(Run::read(folder.path()), None);
    }
}
