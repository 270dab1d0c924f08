//! The last runs of a machine, `history.json`: the newest last.
//!
//! It is written under the machine's lock, and read without.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fs::file::{Sync, read_untrusted, replace};
use crate::model::past_run::PastRun;
use crate::model::run::RunId;
use crate::store::error::StoreError;
use crate::store::layout::HISTORY;

/// How many runs are kept.
const MOST: usize = 20;
/// The most of the file that is read, in bytes: a run has at most some 4 KiB.
const MAX_BYTES: u64 = 256 << 10;

/// A run as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    #[serde(default)]
    id: Option<RunId>,
    #[serde(flatten)]
    run: PastRun,
}

/// The last runs, the newest last; none if there is no history that can be read.
pub(crate) fn read(directory: &Path) -> Vec<PastRun> {
    stored(directory).into_iter().map(|stored| stored.run).collect()
}

/// Adds a run, and forgets the oldest. One that is there already is replaced: whoever added it was
/// interrupted right after that.
pub(crate) fn add(id: &RunId, run: &PastRun, directory: &Path) -> Result<(), StoreError> {
    let mut runs = stored(directory);
    runs.retain(|stored| stored.id.as_ref() != Some(id));
    runs.push(Stored { id: Some(id.clone()), run: run.clone() });
    let surplus = runs.len().saturating_sub(MOST);
    runs.drain(..surplus);
    let text = serde_json::to_vec(&runs).map_err(|source| StoreError::Encode { source })?;
    Ok(replace(&directory.join(HISTORY), &text, Sync::No)?)
}

fn stored(directory: &Path) -> Vec<Stored> {
    let text = read_untrusted(&directory.join(HISTORY), MAX_BYTES).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::run::{LastExit, Run};
    use crate::model::timestamp::Timestamp;

    fn past(exit: LastExit) -> PastRun {
        PastRun {
            began: None,
            ended: Timestamp::now(),
            seconds: Some(1),
            exit,
            by: None,
            evidence: vec!["x".repeat(2000)],
        }
    }

    fn id(number: u64) -> RunId {
        Run { began_uptime: Some(number), ..Run::starting("boot".into()) }.id()
    }

    #[test]
    fn the_history_is_bounded_and_keeps_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).is_empty());
        for number in 0..30 {
            let exit = if number == 29 { LastExit::Oom } else { LastExit::Guest };
            add(&id(number), &past(exit), directory.path()).unwrap();
        }
        let runs = read(directory.path());
        assert_eq!(runs.len(), MOST);
        assert_eq!(runs.last().map(|run| run.exit), Some(LastExit::Oom));
        // The same run again, as after an interruption.
        add(&id(29), &past(LastExit::Panic), directory.path()).unwrap();
        let runs = read(directory.path());
        assert_eq!((runs.len(), runs[MOST - 1].exit), (MOST, LastExit::Panic));
        assert_eq!(runs[MOST - 2].exit, LastExit::Guest);
    }

    #[test]
    fn what_is_no_history_is_none() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "[", "{}", "[{\"exit\":\"exploded\"}]"] {
            std::fs::write(directory.path().join(HISTORY), text).unwrap();
            assert!(read(directory.path()).is_empty(), "{text}");
        }
    }
}
