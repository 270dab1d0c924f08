//! Starting any number of machines: what they need of the switch is asked for together.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

use crate::fs::in_parallel::THREADS;
use crate::hardware::error::HardwareError;
use crate::hardware::net::shared_ports::SharedPorts;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::definition::NetKind;
use crate::power::error::StartError;
use crate::power::start::StartOptions;
use crate::power::start::one::{Ready, start_alone};

/// How many machines are prepared ahead: each is locked, and has two descriptors open.
const TOGETHER: usize = 16;

/// How many machines start at once. Each is work for a processor until its guest boots: with many more than there
/// are processors none would answer in time on a slow host.
fn at_once() -> usize {
    let processors = available_parallelism().map_or(1, usize::from);
    processors.saturating_mul(2).clamp(2, THREADS)
}

/// A machine whose turn has come: its place, and what was prepared for it.
type Turn<'a> = (usize, Option<Ready<'a>>);

/// Starts machines, in parallel, and returns when all of them run or have failed. `done` is called with
/// the result of each as soon as it has one, from several threads at once; what it returns is in the
/// machines' order.
///
/// The ports of up to 16 machines at a time are asked of Open vSwitch together: each of many starts
/// for less than by itself. Each machine starts, or fails, as by [`Vm::start`], and one's failure
/// keeps no other from starting.
///
/// # Example
///
/// ```no_run
/// use virshle_core::{Node, Selection, StartOptions, start_many, template::Config};
///
/// let node = Node::new(Config::load(&Config::locate(None)?)?, None);
/// let vms = node.select(&Selection::all())?;
/// for result in start_many(&vms, &StartOptions::default(), |_, result| result) {
///     result?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn start_many<R: Send>(
    vms: &[Vm],
    options: &StartOptions,
    done: impl Fn(&Vm, Result<Change, StartError>) -> R + Sync,
) -> Vec<R> {
    let start = |(place, ready): Turn<'_>| {
        let result = match ready {
            Some(ready) => ready.start(options),
            None => start_alone(&vms[place], options),
        };
        (place, done(&vms[place], result))
    };
    if vms.len() <= 1 {
        return (0..vms.len()).map(|place| start((place, None)).1).collect();
    }
    let results = Mutex::new(Vec::with_capacity(vms.len()));
    scope(|scope| {
        // Without room: a machine is handed over when there is a thread for it, and no batch is
        // prepared before the one in hand is.
        let (sender, receiver) = sync_channel(0);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = 0;
        for _ in 0..vms.len().min(at_once()) {
            let (receiver, start, results) = (Arc::clone(&receiver), &start, &results);
            let work = move || {
                while let Some(turn) = next(&receiver) {
                    let result = start(turn);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            };
            // A host that has no thread to give is served by fewer, and at worst by this one.
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
            threads += 1;
        }
        drop(receiver);
        hand_out(vms, options, &sender, threads, &|turn| {
            let result = start(turn);
            results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        });
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The next machine; none when all were handed out.
fn next<'a>(receiver: &Mutex<Receiver<Turn<'a>>>) -> Option<Turn<'a>> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Prepares the machines batch by batch, and hands each to a thread; `here` starts those for which
/// there is none.
fn hand_out<'a>(
    vms: &'a [Vm],
    options: &StartOptions,
    sender: &SyncSender<Turn<'a>>,
    threads: usize,
    here: &dyn Fn(Turn<'a>),
) {
    // A switch that can't be reached is not asked again for each batch.
    let mut together = true;
    for (batch, first) in vms.chunks(TOGETHER).zip((0..).step_by(TOGETHER)) {
        let prepared = match together {
            true => prepare(batch, options).unwrap_or_else(|error| {
                together = false;
                tracing::debug!(%error, "machines are started each by itself");
                Vec::new()
            }),
            false => Vec::new(),
        };
        let mut prepared = prepared.into_iter().chain(std::iter::repeat_with(|| None));
        for (place, ready) in (first..first + batch.len()).zip(&mut prepared) {
            match threads {
                0 => here((place, ready)),
                // It is only refused when every thread has panicked, which this scope passes on.
                _ => drop(sender.send((place, ready))),
            }
        }
    }
}

/// Prepares those of the machines whose ports can be asked for together, and asks for them. One that
/// can't be prepared gets its error from its own start.
fn prepare<'a>(
    batch: &'a [Vm],
    options: &StartOptions,
) -> Result<Vec<Option<Ready<'a>>>, HardwareError> {
    let Some(bridge) = batch.iter().find_map(bridge_of_taps) else { return Ok(Vec::new()) };
    let fits = |vm: &Vm| bridge_of_taps(vm) == Some(bridge);
    let mut fitting = batch.iter().filter(|vm| fits(vm));
    let (Some(first), Some(_)) = (fitting.next(), fitting.next()) else { return Ok(Vec::new()) };
    let switch = first.node().switch(options.answer_timeout)?;
    let shared = SharedPorts::on(first.node(), switch, bridge, options.answer_timeout)
        .map_err(HardwareError::network(first))?;
    let shared = Arc::new(shared);
    let mut requests = Vec::new();
    let prepared = batch
        .iter()
        .map(|vm| {
            if !fits(vm) {
                return None;
            }
            let ready = Ready::among(vm, &shared).and_then(|ready| match ready {
                Some(ready) => Ok(Some((ready.tap_requests()?, ready))),
                None => Ok(None),
            });
            match ready {
                Ok(Some((wanted, ready))) => {
                    requests.extend(wanted);
                    Some(ready)
                }
                Ok(None) => None,
                Err(error) => {
                    tracing::debug!(vm = %vm.name(), %error, "not prepared");
                    None
                }
            }
        })
        .collect();
    shared.ask(&requests);
    Ok(prepared)
}

/// The bridge of a machine whose ports can be created before it runs: all its interfaces are taps.
fn bridge_of_taps(vm: &Vm) -> Option<&str> {
    let nets = &vm.definition().nets;
    let taps = nets.iter().all(|net| net.kind == NetKind::Tap);
    nets.first().filter(|_| taps).map(|net| net.bridge.as_str())
}
