//! Why a machine does not run: its last runs, and how each ended; and why one that runs has no network.

use crate::hardware::net::user;
use crate::machine::last_exit;
use crate::machine::vm::Vm;
use crate::model::past_run::PastRun;
use crate::model::state::VmState;
use crate::store::{history, run_record};

impl Vm {
    /// The machine's last runs, the newest first: when each began and ended, how, by whom, and what shows
    /// it. The one that goes on is not among them.
    pub fn history(&self) -> Vec<PastRun> {
        let mut runs = history(self);
        runs.reverse();
        runs
    }

    /// Which user networks of a running machine are dead, and why, for people.
    pub fn dead_networks(&self) -> Vec<String> {
        if !matches!(self.state(), VmState::Running | VmState::Paused) {
            return Vec::new();
        }
        user::lost(self).into_iter().map(|(net, loss)| user::lapse(net, loss)).collect()
    }
}

fn history(vm: &Vm) -> Vec<PastRun> {
    let mut runs = history::read(vm.directory());
    // An end that no process has recorded yet, as without systemd.
    if let Some(run) = run_record::read(vm.directory()) {
        if run.ended.is_none() && vm.state() == VmState::Stopped {
            runs.push(last_exit::past_run(vm, &run));
        }
    }
    runs
}
