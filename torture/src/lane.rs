//! A lane: a network namespace and a switch of its own, with a home on each ground.

use std::process::Command;

use virshle_testkit::{NetNamespace, OpenVswitch};

use crate::attempt::survey;
use crate::board::{Board, Done, Job};
use crate::home::{Ground, Home, KERNEL_BRIDGE};
use crate::options::Programs;
use crate::program::tool;
use virshle_testkit::{Failure, While};

/// The parts that a lane works on.
#[derive(Debug)]
pub(crate) struct Lane {
    // Dropped in this order: machines before their switch, and all of it in its namespace.
    pub(crate) xfs: Home,
    pub(crate) memory: Home,
    pub(crate) switch: OpenVswitch,
    _namespace: NetNamespace,
}

impl Lane {
    fn make(programs: &Programs, dpdk: bool) -> Result<Self, Failure> {
        let namespace = NetNamespace::enter().doing(|| "cannot make a network namespace".into())?;
        let link = |words: &str| tool(Command::new("ip").arg("link").args(words.split(' ')));
        link(&format!("add {KERNEL_BRIDGE} type bridge"))?;
        link(&format!("set {KERNEL_BRIDGE} up"))?;
        let switch = if dpdk { OpenVswitch::with_dpdk() } else { OpenVswitch::start() };
        let home = |ground| Home::make(ground, programs, &switch.address(), dpdk);
        let (xfs, memory) = (home(Ground::Xfs)?, home(Ground::Memory)?);
        Ok(Self { xfs, memory, switch, _namespace: namespace })
    }

    fn home(&self, ground: Ground) -> &Home {
        match ground {
            Ground::Xfs => &self.xfs,
            Ground::Memory => &self.memory,
        }
    }

    fn work(&mut self, job: Job) -> Done {
        match job {
            Job::Survey(scenario) => {
                Done::Survey(scenario, survey(scenario, self.home(scenario.ground)))
            }
            Job::Attempt(attempt) => {
                Done::Attempt(Box::new(attempt.make(self.home(attempt.scenario.ground))))
            }
            Job::Race(race) => {
                let result = self.again_after(|lane| race.run(&lane.xfs));
                Done::Round(race.name, result)
            }
            Job::Trial(trial) => {
                let result = self.again_after(|lane| trial.run(lane));
                Done::Round(trial.name, result)
            }
        }
    }

    /// Does `work`, and begins anew if it failed.
    fn again_after(
        &mut self,
        work: impl Fn(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let result = work(self);
        if let Err(failure) = &result {
            self.xfs.rebuild().doing(|| format!("{failure}\nand then, to begin anew"))?;
        }
        result
    }
}

/// Makes a lane in the current thread and works there until there is nothing left to do.
pub(crate) fn run(board: &Board, programs: &Programs, dpdk: bool) {
    board.join();
    // The testkit panics when its switch does not do as it should.
    let ended = std::panic::catch_unwind(|| {
        let mut lane = Lane::make(programs, dpdk)?;
        while let Some(job) = board.take(dpdk) {
            board.put(lane.work(job));
        }
        lane.close()
    });
    let ended = ended.unwrap_or_else(|_| Err(Failure::new("it panicked: see above")));
    board.leave(ended.err());
}

impl Lane {
    fn close(self) -> Result<(), Failure> {
        self.xfs.end()?;
        self.memory.end()
    }
}
