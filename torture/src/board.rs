//! The work that is to be done, and what came of it: lanes take from it and put back.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::attempt::{Attempt, Record};
use crate::call::Call;
use crate::race::Race;
use crate::scenario::Scenario;
use crate::trial::Trial;
use virshle_testkit::Failure;

/// A piece of work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    /// List the calls of a command.
    Survey(&'static Scenario),
    Attempt(Attempt),
    Race(&'static Race),
    Trial(&'static Trial),
}

/// What came of a piece of work.
#[derive(Debug)]
pub(crate) enum Done {
    Survey(&'static Scenario, Result<Vec<Call>, Failure>),
    Attempt(Box<Record>),
    /// A round of a race, or a trial: its name.
    Round(&'static str, Result<(), Failure>),
    /// A lane could not be made, or ended.
    Broken(Failure),
}

impl Job {
    fn needs_dpdk(&self) -> bool {
        match self {
            Self::Survey(scenario) => scenario.needs_dpdk(),
            Self::Attempt(attempt) => attempt.scenario.needs_dpdk(),
            Self::Race(_) => false,
            Self::Trial(trial) => trial.needs_dpdk(),
        }
    }
}

/// The board.
#[derive(Debug, Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: VecDeque<Job>,
    /// Jobs that are being worked on.
    taken: usize,
    deadline: Option<Instant>,
    closed: bool,
    done: Vec<Done>,
    /// How many lanes work.
    lanes: usize,
    /// How many there ever were.
    joined: usize,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        match self.inner.lock() {
            Ok(inner) => inner,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Takes the next job that a lane can do; waits for one, and gives none when all is over.
    pub(crate) fn take(&self, dpdk: bool) -> Option<Job> {
        let mut inner = self.lock();
        loop {
            if inner.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                inner.jobs.clear();
                self.changed.notify_all();
            }
            let mine = |job: &Job| dpdk || !job.needs_dpdk();
            // What only this lane can do comes first.
            let place = inner
                .jobs
                .iter()
                .position(|job| dpdk && job.needs_dpdk())
                .filter(|_| inner.lanes > 1)
                .or_else(|| inner.jobs.iter().position(mine));
            if let Some(job) = place.and_then(|place| inner.jobs.remove(place)) {
                inner.taken += 1;
                return Some(job);
            }
            if inner.closed {
                return None;
            }
            inner = match self.changed.wait(inner) {
                Ok(inner) => inner,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    /// Puts back what came of a job.
    pub(crate) fn put(&self, done: Done) {
        let mut inner = self.lock();
        inner.taken = inner.taken.saturating_sub(1);
        inner.done.push(done);
        self.changed.notify_all();
    }

    /// Says that a lane is being made.
    pub(crate) fn join(&self) {
        let mut inner = self.lock();
        inner.lanes += 1;
        inner.joined += 1;
        self.changed.notify_all();
    }

    /// Waits until so many lanes have been begun.
    pub(crate) fn wait_for_lanes(&self, lanes: usize) {
        let mut inner = self.lock();
        while inner.joined < lanes {
            inner = match self.changed.wait(inner) {
                Ok(inner) => inner,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    /// Says that a lane has ended, and why if it was not to.
    pub(crate) fn leave(&self, why: Option<Failure>) {
        let mut inner = self.lock();
        inner.lanes = inner.lanes.saturating_sub(1);
        if let Some(failure) = why {
            inner.done.push(Done::Broken(failure));
            inner.taken = 0;
        }
        self.changed.notify_all();
    }

    /// Hands out `jobs`, and gives what came of them as it comes, until all are done or none is
    /// left to do them; after `deadline` none is begun.
    pub(crate) fn work(
        &self,
        jobs: impl IntoIterator<Item = Job>,
        deadline: Option<Instant>,
        mut handle: impl FnMut(Done),
    ) {
        let mut inner = self.lock();
        inner.jobs = jobs.into_iter().collect();
        inner.deadline = deadline;
        self.changed.notify_all();
        loop {
            for done in std::mem::take(&mut inner.done) {
                handle(done);
            }
            if (inner.jobs.is_empty() && inner.taken == 0) || inner.lanes == 0 {
                inner.jobs.clear();
                return;
            }
            inner = match self.changed.wait(inner) {
                Ok(inner) => inner,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    /// No job will come any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}
