//! Many at once: processes, and threads of one process, that want the same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use virshle_core::template::Config;
use virshle_core::{CoreError, CreateRequest, ErrorKind, Force, Node, StartOptions, StopRequest};

use crate::audit;
use crate::dice::Dice;
use crate::home::{self, Home, LIMIT, SUBJECT};
use crate::machine::{Machines, named};
use crate::program::{self, Outcome};
use virshle_testkit::{Failure, While, ensure};

/// How many processes are let loose at once.
const MANY: usize = 64;

/// A race.
#[derive(Debug)]
pub(crate) struct Race {
    pub(crate) name: &'static str,
    run: fn(&Home) -> Result<(), Failure>,
}

/// Every race.
pub(crate) const ALL: &[Race] = &[
    Race { name: "creates", run: creates },
    Race { name: "creates of one name", run: creates_of_one_name },
    Race { name: "starts of one machine", run: starts },
    Race { name: "removals of one machine", run: removals },
    Race { name: "everything on one machine", run: everything },
    Race { name: "everything and kills", run: kills },
    Race { name: "everything in bulk", run: bulk },
    Race { name: "starts and stops and repairs", run: repairs },
    Race { name: "threads of one process", run: threads },
];

impl Race {
    /// Runs one round. Readers list the machines all the while, and may see nothing broken.
    pub(crate) fn run(&self, home: &Home) -> Result<(), Failure> {
        home.clear()?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read(home, &over))).collect();
            let result = (self.run)(home);
            over.store(true, Ordering::Relaxed);
            for reader in readers {
                let reads = reader.join().map_err(|_| Failure::new("a reader panicked"))??;
                ensure!(reads > 0, "a reader never came to read");
            }
            result
        })?;
        settled(home)
    }
}

/// Lists the machines again and again, and counts how often.
fn read(home: &Home, over: &AtomicBool) -> Result<usize, Failure> {
    let mut reads = 0;
    loop {
        let machines = home.machines().doing(|| "a reader".into())?;
        for machine in machines.values() {
            let whole = !machine.name.is_empty() && machine.id > 0 && !machine.template.is_empty();
            ensure!(whole, "a reader saw {machine:?}");
        }
        for name in [home::KEEPER, home::RUNNER] {
            ensure!(named(&machines, name).is_some(), "a reader did not see {name}");
        }
        let ids: BTreeSet<u64> = machines.values().map(|machine| machine.id).collect();
        let names: BTreeSet<&String> = machines.values().map(|machine| &machine.name).collect();
        ensure!(ids.len() == machines.len(), "a reader saw an id twice: {machines:?}");
        ensure!(names.len() == machines.len(), "a reader saw a name twice: {machines:?}");
        reads += 1;
        if over.load(Ordering::Relaxed) {
            return Ok(reads);
        }
    }
}

/// Lets a process loose for each list of arguments.
fn loose(home: &Home, args: &[Vec<&str>]) -> Result<Vec<Outcome>, Failure> {
    let running: Result<Vec<_>, _> =
        args.iter().map(|args| program::start(&mut home.command(args))).collect();
    running?.into_iter().map(|process| process.finish(LIMIT)).collect()
}

/// Each ended with one of these codes, and none that failed kept silent about it.
fn check(outcomes: &[Outcome], codes: &[i32]) -> Result<(), Failure> {
    for outcome in outcomes {
        let fine = outcome.exit.is_some_and(|exit| codes.contains(&exit));
        ensure!(fine, "not one of {codes:?}: {outcome}");
        let reported = outcome.stderr.lines().any(|line| line.starts_with("error: "));
        ensure!(outcome.exit == Some(0) || reported, "a loser was not given a reason: {outcome}");
    }
    Ok(())
}

fn count(outcomes: &[Outcome], code: i32) -> usize {
    outcomes.iter().filter(|outcome| outcome.exit == Some(code)).count()
}

/// When all have ended: nothing is left over, without a repair.
fn settled(home: &Home) -> Result<(), Failure> {
    let machines = home.machines()?;
    let left = audit::problems(home, &machines)?;
    ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    home.clear()
}

fn make_subject(home: &Home, template: &str) -> Result<(), Failure> {
    home.must(&["vm", "create", "-t", template, "--name", SUBJECT]).map(drop)
}

fn creates(home: &Home) -> Result<(), Failure> {
    let before = home.machines()?.len();
    let args = vec![vec!["vm", "create", "-t", "bare"]; MANY];
    check(&loose(home, &args)?, &[0])?;
    let made = home.machines()?.len() - before;
    ensure!(made == MANY, "{made} came to be of {MANY}");
    Ok(())
}

fn creates_of_one_name(home: &Home) -> Result<(), Failure> {
    let args = vec![vec!["vm", "create", "-t", "bare", "--name", SUBJECT]; MANY];
    let outcomes = loose(home, &args)?;
    check(&outcomes, &[0, 6])?;
    let winners = count(&outcomes, 0);
    ensure!(winners == 1, "{winners} got the name");
    Ok(())
}

fn starts(home: &Home) -> Result<(), Failure> {
    make_subject(home, "tap")?;
    let args = vec![vec!["vm", "start", SUBJECT]; MANY];
    let outcomes = loose(home, &args)?;
    check(&outcomes, &[0, 6])?;
    let done = outcomes.iter().filter(|outcome| outcome.stdout.contains("started")).count()
        + outcomes.iter().filter(|outcome| outcome.stderr.contains("started")).count();
    ensure!(done == 1, "{done} say that they started it");
    let machines = home.machines()?;
    let state = named(&machines, SUBJECT).map(|vm| vm.state.as_str());
    ensure!(state == Some("running"), "it is {state:?}");
    Ok(())
}

fn removals(home: &Home) -> Result<(), Failure> {
    make_subject(home, "tap")?;
    home.must(&["vm", "start", SUBJECT])?;
    let args = vec![vec!["vm", "rm", "--force", SUBJECT]; MANY];
    let outcomes = loose(home, &args)?;
    check(&outcomes, &[0, 3])?;
    let winners = count(&outcomes, 0);
    ensure!(winners == 1, "{winners} removed it");
    Ok(())
}

/// What can be done to one machine.
const ACTS: [&[&str]; 7] = [
    &["vm", "start", SUBJECT],
    &["vm", "stop", "--force", SUBJECT],
    &["vm", "restart", "--force", SUBJECT],
    &["vm", "pause", SUBJECT],
    &["vm", "resume", SUBJECT],
    &["vm", "rm", SUBJECT],
    &["vm", "create", "-t", "tap", "--name", SUBJECT],
];

fn everything(home: &Home) -> Result<(), Failure> {
    make_subject(home, "tap")?;
    let args: Vec<Vec<&str>> = (0..MANY).map(|turn| ACTS[turn % ACTS.len()].to_vec()).collect();
    check(&loose(home, &args)?, &[0, 3, 6])
}

/// The same, and every third process is killed at some moment.
fn kills(home: &Home) -> Result<(), Failure> {
    make_subject(home, "tap")?;
    let mut dice = Dice::new(u64::from(std::process::id()));
    let args: Vec<Vec<&str>> = (0..MANY).map(|_| ACTS[dice.below(ACTS.len())].to_vec()).collect();
    let running: Result<Vec<_>, _> =
        args.iter().map(|args| program::start(&mut home.command(args))).collect();
    let mut running = running?;
    for turn in 0..MANY / 3 {
        std::thread::sleep(Duration::from_millis(dice.below(40) as u64));
        running[turn * 3].kill();
    }
    for (turn, process) in running.into_iter().enumerate() {
        let outcome = process.finish(LIMIT)?;
        if turn % 3 != 0 {
            // One that was killed may have been starting it, or have left its half of the work.
            check(&[outcome], &[0, 1, 3, 6])?;
        }
    }
    home.must(&["node", "check", "--repair", "--json"])?;
    // A start that was cut short is finished, or taken back, by the next change of that machine.
    if named(&home.machines()?, SUBJECT).is_some() {
        home.must(&["vm", "stop", "--force", SUBJECT])?;
    }
    Ok(())
}

/// A repair takes nothing from a machine that others are at work on.
fn repairs(home: &Home) -> Result<(), Failure> {
    home.must(&["vm", "create", "-t", "tap", "-n", "8", "--name", SUBJECT])?;
    let names: Vec<String> = (1..=8).map(|number| format!("{SUBJECT}-{number}")).collect();
    for round in 0..4 {
        let args: Vec<Vec<&str>> = (0..24)
            .map(|turn| match turn % 3 {
                0 => vec!["node", "check", "--repair", "--json"],
                _ if turn > 15 => vec!["vm", "create", "-t", "bare"],
                _ if round % 2 == 0 => vec!["vm", "start", &names[turn % 8]],
                _ => vec!["vm", "stop", "--force", &names[turn % 8]],
            })
            .collect();
        check(&loose(home, &args)?, &[0])?;
        let wanted = if round % 2 == 0 { "running" } else { "stopped" };
        let machines = home.machines()?;
        for turn in (0..=15).filter(|turn| turn % 3 != 0) {
            let machine = named(&machines, &names[turn % 8]);
            ensure!(machine.is_some_and(|vm| vm.state == wanted), "not {wanted}: {machine:?}");
        }
    }
    Ok(())
}

fn bulk(home: &Home) -> Result<(), Failure> {
    home.must(&["vm", "create", "-t", "tap", "-n", "8"])?;
    let acts: [&[&str]; 4] = [
        &["vm", "start", "--template", "tap"],
        &["vm", "create", "-t", "bare", "-n", "4", "--start"],
        &["vm", "stop", "--force", "--template", "bare"],
        &["vm", "rm", "--force", "--template", "bare"],
    ];
    let args: Vec<Vec<&str>> = (0..16).map(|turn| acts[turn % acts.len()].to_vec()).collect();
    let outcomes = loose(home, &args)?;
    check(&outcomes, &[0, 1, 3, 6])?;
    home.must(&["vm", "start", "--template", "tap"])?;
    let machines: Machines = home.machines()?;
    let off = machines.values().filter(|vm| vm.template == "tap" && vm.state != "running").count();
    ensure!(off == 0, "{off} of the machines with a tap do not run");
    // The keeper was started with them.
    home.must(&["vm", "stop", "--force", home::KEEPER]).map(drop)
}

/// What threads of a process that embeds the crate do to each other.
fn threads(home: &Home) -> Result<(), Failure> {
    let config = Config::load(&home.config()).doing(|| "the configuration".into())?;
    let node = Node::new(config, None);
    let quiet = |_: virshle_core::CopyProgress<'_>| {};
    let name = || SUBJECT.parse().map_err(|error| Failure::new(format!("{error}")));

    let request = CreateRequest::new("tap").name(name()?);
    let kinds =
        at_once(MANY, |_| match node.create(&request, &quiet).map(|mut made| made.pop()) {
            Ok(Some(created)) => created.result.map(drop).map_err(CoreError::from),
            Err(error) => Err(error.into()),
            Ok(None) => unreachable!("one machine was asked for"),
        })?;
    let winners = kinds.iter().filter(|result| result.is_ok()).count();
    ensure!(winners == 1, "{winners} threads got the name");
    for result in kinds {
        if let Err(error) = result {
            ensure!(error.kind() == ErrorKind::State, "a thread lost by {error}");
        }
    }

    let machines = home.machines()?;
    let uuid = named(&machines, SUBJECT).map(|machine| machine.uuid.clone()).unwrap_or_default();
    let uuid = uuid.parse().doing(|| "the subject's uuid".into())?;
    let vm = node.vm(uuid).doing(|| "the subject".into())?;
    let results = at_once(MANY, |turn| match turn % 4 {
        0 => vm.start(&StartOptions::default()).map(drop).map_err(CoreError::from),
        1 => vm.stop(&StopRequest::force()).map(drop).map_err(CoreError::from),
        2 => vm
            .restart(&StopRequest::force(), &StartOptions::default())
            .map(drop)
            .map_err(CoreError::from),
        _ => vm.pause().and_then(|_| vm.resume()).map(drop).map_err(CoreError::from),
    })?;
    for error in results.into_iter().filter_map(Result::err) {
        if error.kind() != ErrorKind::State {
            return Err(error).doing(|| "a thread lost".into());
        }
    }
    let results = at_once(MANY, |_| vm.remove(Force::Yes))?;
    let winners = results.iter().filter(|result| result.is_ok()).count();
    ensure!(winners == 1, "{winners} threads removed it");
    for error in results.into_iter().filter_map(Result::err) {
        let error = CoreError::from(error);
        ensure!(error.kind() == ErrorKind::NotFound, "a thread lost by {error}");
    }
    Ok(())
}

/// Runs `work` in so many threads at once.
fn at_once<T: Send>(
    many: usize,
    work: impl Fn(usize) -> T + std::marker::Sync,
) -> Result<Vec<T>, Failure> {
    let barrier = std::sync::Barrier::new(many);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..many)
            .map(|turn| {
                let (work, barrier) = (&work, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    work(turn)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| Failure::new("a thread panicked")))
            .collect()
    })
}
