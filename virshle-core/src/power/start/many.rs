//! Starting many machines: what they need of the switch is asked for together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::error::CoreError;
use crate::hardware::net::shared_ports::SharedPorts;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::definition::NetKind;
use crate::power::start::Ready;
use crate::power::start::StartOptions;

/// How many machines are made ready at once.
const TOGETHER: usize = 16;

/// Starts many machines, in parallel and for less than each by itself: the ports of some at a time
/// are asked of Open vSwitch together.
///
/// Each machine starts, or fails, as by [`Vm::start`].
///
/// # Example
///
/// ```no_run
/// use virshle_core::{Node, Selection, StartOptions, Starter, in_parallel, template::Config};
///
/// let node = Node::new(Config::load(&Config::locate(None)?)?, None);
/// let vms = node.select(&Selection::default())?;
/// let starter = Starter::new(&vms, StartOptions::default());
/// for result in in_parallel(vms.iter().collect(), |vm| starter.start(vm)) {
///     result?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Starter<'a> {
    options: StartOptions,
    state: Mutex<State<'a>>,
}

#[derive(Debug)]
struct State<'a> {
    /// Those whose turn has not come.
    rest: &'a [Vm],
    ready: HashMap<Uuid, Ready<'a>>,
}

impl<'a> Starter<'a> {
    /// Will start `vms`, best in this order. Nothing is done yet.
    pub fn new(vms: &'a [Vm], options: StartOptions) -> Self {
        Self { options, state: Mutex::new(State { rest: vms, ready: HashMap::new() }) }
    }

    /// Starts one of the machines, and returns when its guest runs.
    ///
    /// # Errors
    ///
    /// As [`Vm::start`].
    pub fn start(&self, vm: &Vm) -> Result<Change, CoreError> {
        let ready = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_next(vm) {
                state.make_ready(&self.options);
            }
            state.ready.remove(&vm.definition().uuid)
        };
        match ready {
            Some(ready) => ready.start(&self.options),
            None => vm.start(&self.options),
        }
    }
}

impl Drop for Starter<'_> {
    /// Takes back what was done for machines that were not started.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.ready.drain().for_each(|(_, ready)| ready.abandon());
    }
}

impl<'a> State<'a> {
    /// Whether the machine is among those to be made ready next. One that could not be made ready,
    /// or comes again, is not: else it would have others locked before their turn, with no bound.
    fn is_next(&self, vm: &Vm) -> bool {
        let mut next = self.rest.iter().take(TOGETHER);
        next.any(|other| other.definition().uuid == vm.definition().uuid)
    }

    /// Makes the next machines ready. One that can't be hears why from its own start.
    fn make_ready(&mut self, options: &StartOptions) {
        let (next, rest) = self.rest.split_at(self.rest.len().min(TOGETHER));
        self.rest = rest;
        let Some(bridge) = next.iter().find_map(bridge_of_taps) else { return };
        let next: Vec<&Vm> = next.iter().filter(|vm| bridge_of_taps(vm) == Some(bridge)).collect();
        let [first, _, ..] = next[..] else { return };
        let shared = first.node().switch(options.answer_timeout).and_then(|switch| {
            SharedPorts::on(switch, bridge, options.answer_timeout)
                .map_err(|source| CoreError::Network { vm: first.name().clone(), source })
        });
        let shared = match shared {
            Ok(shared) => Arc::new(shared),
            Err(error) => {
                // Nor for those that come later.
                self.rest = &[];
                tracing::debug!(%error, "machines are started each by itself");
                return;
            }
        };
        let mut requests = Vec::new();
        for vm in next {
            let ready = vm.ready_among(&shared).and_then(|ready| match ready {
                Some(ready) => Ok(Some((ready.network().tap_requests()?, ready))),
                None => Ok(None),
            });
            match ready {
                Ok(Some((wanted, ready))) => {
                    requests.extend(wanted);
                    self.ready.insert(vm.definition().uuid, ready);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(vm = %vm.name(), %error, "not ready"),
            }
        }
        shared.ask(&requests);
    }
}

/// The bridge of a machine whose ports can be made before it runs: all its interfaces are taps.
fn bridge_of_taps(vm: &Vm) -> Option<&str> {
    let nets = &vm.definition().nets;
    let taps = nets.iter().all(|net| net.kind == NetKind::Tap);
    nets.first().filter(|_| taps).map(|net| net.bridge.as_str())
}
