//! The commands that change something, each with what has to be there before and after.

use std::process::Command;
use std::time::Instant;

use virshle_testkit::Part;

use crate::audit;
use crate::home::{
    Ground, Home, IMPORTED, INIT_BRIDGE, KEEPER, LIMIT, PULLED, RUNNER, SUBJECT, UPLINK,
};
use crate::machine::{Machine, Machines, named};
use crate::program::{Outcome, tool};
use virshle_testkit::{Failure, ensure};

/// A command under test.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// The arguments of `v`.
    pub(crate) args: &'static [&'static str],
    pub(crate) ground: Ground,
    /// What the host must have besides what every scenario needs.
    pub(crate) part: Option<Part>,
    /// The template of the subject, and whether it runs before.
    before: Before,
    pub(crate) effect: Effect,
    /// One of the few that the short form tries.
    pub(crate) short: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// There is no subject.
    Nothing,
    Stopped(&'static str),
    Running(&'static str),
    /// It runs no more: its process was killed.
    Crashed(&'static str),
    /// The same, and it is to be started again.
    Due(&'static str),
    /// It runs, and its port was deleted.
    Unplugged(&'static str),
    /// There is no node.
    NoNode,
    /// There is a node without parts of its own.
    NoParts,
    /// The image of that name is not in the cache.
    NoImage(&'static str),
}

/// What the command is to achieve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// So many more machines, in that state.
    Created(usize, &'static str),
    /// The subject has come to be.
    Named,
    /// The subject is in that state.
    State(&'static str),
    /// The subject runs, and not in the process from before.
    Restarted,
    /// The end of the subject is recorded, and nothing of its run is left.
    Ended,
    /// The subject runs again; or that has failed, and the next time is arranged for.
    Again,
    /// The definition of the subject has this line, and it runs on.
    Set(&'static str),
    /// The subject has its port, and runs on.
    Connected,
    /// The subject is no more.
    Removed,
    /// The node is set up.
    Node,
    /// The node has its parts.
    Parts,
    /// The image of that name is in the cache.
    Image(&'static str),
}

use Before::{Crashed, Due, NoImage, NoNode, NoParts, Nothing, Running, Stopped, Unplugged};
use Ground::{Memory, Xfs};

const fn scenario(
    name: &'static str,
    args: &'static [&'static str],
    before: Before,
    effect: Effect,
) -> Scenario {
    Scenario { name, args, ground: Xfs, part: None, before, effect, short: true }
}

/// Every command under test.
#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario("node-init", &["node", "init"], NoNode, Effect::Node),
    scenario("node-setup", &["node", "setup", "--offline", "parts", "--releases", "parts/releases.toml"], NoParts, Effect::Parts),
    Scenario { short: false, ..scenario("image-import", &["image", "import", "image.raw", "--name", IMPORTED], NoImage(IMPORTED), Effect::Image(IMPORTED)) },
    Scenario { short: false, ..scenario("image-pull", &["image", "pull", "remote"], NoImage(PULLED), Effect::Image(PULLED)) },
    scenario("create", &["vm", "create", "-t", "bare"], Nothing, Effect::Created(1, "stopped")),
    Scenario { ground: Memory, ..scenario("create-copy", &["vm", "create", "-t", "bare"], Nothing, Effect::Created(1, "stopped")) },
    Scenario { short: false, ..scenario("create-seed", &["vm", "create", "-t", "seeded"], Nothing, Effect::Created(1, "stopped")) },
    Scenario { short: false, ..scenario("create-name", &["vm", "create", "-t", "bare", "--name", SUBJECT], Nothing, Effect::Named) },
    scenario("create-3", &["vm", "create", "-t", "bare", "-n", "3"], Nothing, Effect::Created(3, "stopped")),
    Scenario { short: false, ..scenario("create-start", &["vm", "create", "-t", "tap", "--start"], Nothing, Effect::Created(1, "running")) },
    Scenario { short: false, ..scenario("create-start-3", &["vm", "create", "-t", "tap", "-n", "3", "--start"], Nothing, Effect::Created(3, "running")) },
    Scenario { short: false, ..scenario("run", &["run", "-d", "tap"], Nothing, Effect::Created(1, "running")) },
    Scenario { short: false, ..scenario("start", &["vm", "start", SUBJECT], Stopped("bare"), Effect::State("running")) },
    scenario("start-tap", &["vm", "start", SUBJECT], Stopped("tap"), Effect::State("running")),
    scenario("start-bridge", &["vm", "start", SUBJECT], Stopped("bridge"), Effect::State("running")),
    Scenario { short: false, ..scenario("rm-bridge", &["vm", "rm", "--force", SUBJECT], Running("bridge"), Effect::Removed) },
    Scenario { part: Some(Part::Dpdk), ..scenario("start-vhost", &["vm", "start", SUBJECT], Stopped("vhost"), Effect::State("running")) },
    Scenario { part: Some(Part::Passt), ..scenario("start-user", &["vm", "start", SUBJECT], Stopped("user"), Effect::State("running")) },
    Scenario { part: Some(Part::Passt), short: false, ..scenario("stop-user", &["vm", "stop", "--force", SUBJECT], Running("user"), Effect::State("stopped")) },
    Scenario { part: Some(Part::Passt), short: false, ..scenario("rm-user", &["vm", "rm", "--force", SUBJECT], Running("user"), Effect::Removed) },
    scenario("stop", &["vm", "stop", SUBJECT], Running("button"), Effect::State("stopped")),
    scenario("stop-force", &["vm", "stop", "--force", SUBJECT], Running("tap"), Effect::State("stopped")),
    Scenario { part: Some(Part::Dpdk), short: false, ..scenario("stop-vhost", &["vm", "stop", "--force", SUBJECT], Running("vhost"), Effect::State("stopped")) },
    Scenario { short: false, ..scenario("restart", &["vm", "restart", SUBJECT], Running("button"), Effect::Restarted) },
    scenario("restart-force", &["vm", "restart", "--force", SUBJECT], Running("tap"), Effect::Restarted),
    Scenario { short: false, ..scenario("pause", &["vm", "pause", SUBJECT], Running("tap"), Effect::State("paused")) },
    scenario("ended", &["node", "ended"], Crashed("again"), Effect::Ended),
    Scenario { short: false, ..scenario("restart-ended", &["node", "restart"], Due("again"), Effect::Again) },
    scenario("heal", &["node", "heal"], Unplugged("tap"), Effect::Connected),
    Scenario { short: false, ..scenario("set", &["vm", "set", SUBJECT, "cpu_weight=7"], Running("tap"), Effect::Set("cpu_weight = 7")) },
    scenario("rm", &["vm", "rm", SUBJECT], Stopped("bare"), Effect::Removed),
    Scenario { short: false, ..scenario("rm-force", &["vm", "rm", "--force", SUBJECT], Running("tap"), Effect::Removed) },
];

/// The ports of a machine that work.
fn ports_of(home: &Home, machine: Option<&Machine>) -> Result<Vec<String>, Failure> {
    let rows = audit::marked(home.database())?.into_iter();
    let working = rows.filter(|row| row.number.is_some_and(|number| number > 0));
    let of = working.filter(|row| machine.is_some_and(|machine| machine.uuid == row.uuid));
    Ok(of.map(|row| row.port).collect())
}

/// What was there before a command.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) machines: Machines,
}

impl Seen {
    fn subject(&self) -> Option<&Machine> {
        named(&self.machines, SUBJECT)
    }
}

/// How far a command got, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing has changed.
    None,
    /// Something has, and less than was asked for.
    Some,
    /// What was asked for is done.
    All,
}

impl Scenario {
    /// Whether it needs a switch with DPDK.
    pub(crate) fn needs_dpdk(&self) -> bool {
        self.part == Some(Part::Dpdk)
    }

    /// The command that is tried.
    pub(crate) fn command(&self, home: &Home) -> Command {
        let mut command = home.command(self.args);
        // As the units of systemd name it.
        let suffix = match self.effect {
            Effect::Ended => Some(""),
            Effect::Again => Some(":1"),
            _ => None,
        };
        if let (Some(suffix), Some(directory)) = (suffix, home.directory_of(SUBJECT)) {
            let mut argument = directory.into_os_string();
            argument.push(suffix);
            command.arg(argument);
        }
        if self.effect == Effect::Node {
            command.env("VIRSHLE_CONFIG", home.init_config());
        }
        if self.effect == Effect::Parts {
            command.env("VIRSHLE_CONFIG", home.parts_config());
        }
        command
    }

    /// Makes what has to be there before.
    pub(crate) fn prepare(&self, home: &Home) -> Result<Seen, Failure> {
        home.clear()?;
        match self.before {
            Nothing => {}
            Stopped(template) => {
                home.must(&["vm", "create", "-t", template, "--name", SUBJECT])?;
            }
            Running(template) => {
                home.must(&["vm", "create", "-t", template, "--name", SUBJECT, "--start"])?;
            }
            Unplugged(template) => {
                home.must(&["vm", "create", "-t", template, "--name", SUBJECT, "--start"])?;
                let mut command = audit::vsctl(home.database());
                for port in ports_of(home, named(&home.machines()?, SUBJECT))? {
                    command.args(["--", "--if-exists", "del-port", &port]);
                }
                tool(&mut command)?;
            }
            Crashed(template) | Due(template) => {
                home.must(&["vm", "create", "-t", template, "--name", SUBJECT, "--start"])?;
                let machines = home.machines()?;
                let pid = named(&machines, SUBJECT).and_then(|machine| machine.pid);
                let pid = pid.and_then(|pid| pid.try_into().ok());
                crate::sys::kill(pid.ok_or_else(|| Failure::new("it does not run"))?);
                let deadline = Instant::now() + LIMIT;
                loop {
                    let machines = home.machines()?;
                    if named(&machines, SUBJECT).is_some_and(|vm| vm.state == "stopped") {
                        break;
                    }
                    ensure!(Instant::now() < deadline, "its process does not end");
                }
                if matches!(self.before, Due(_)) {
                    let directory = home.directory_of(SUBJECT).unwrap_or_default();
                    home.must(&["node", "ended", &directory.display().to_string()])?;
                }
            }
            NoImage(name) => home.remove_image(name)?,
            NoParts => match std::fs::remove_dir_all(home.parts_root()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::new(format!("cannot remove the root: {error}")));
                }
                _ => {}
            },
            NoNode => {
                match std::fs::remove_dir_all(home.init_root()) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Failure::new(format!("cannot remove the root: {error}")));
                    }
                    _ => {}
                }
                let gone = ["--", "--if-exists", "del-br", INIT_BRIDGE];
                let again = ["--", "--if-exists", "del-br", UPLINK];
                let there = ["--", "add-br", UPLINK];
                let kind = ["--", "set", "Bridge", UPLINK, "datapath_type=netdev"];
                let args = [gone, again].concat().into_iter().chain(there).chain(kind);
                tool(audit::vsctl(home.database()).args(args))?;
            }
        }
        Ok(Seen { machines: home.machines()? })
    }

    /// How far the command has come from `seen` to what is there `now`. It is a failure if it has
    /// changed what is none of its business.
    pub(crate) fn progress(
        &self,
        home: &Home,
        seen: &Seen,
        now: &Machines,
    ) -> Result<Progress, Failure> {
        let removes = self.effect == Effect::Removed;
        for old in seen.machines.values() {
            let Some(new) = now.get(&old.uuid) else {
                ensure!(removes && old.name == SUBJECT, "machine {} is gone", old.name);
                continue;
            };
            ensure!(
                (old.id, &old.name, &old.template) == (new.id, &new.name, &new.template),
                "{old:?} became {new:?}"
            );
            let spared = old.name == KEEPER || old.name == RUNNER;
            ensure!(
                !spared || (&old.state, old.pid) == (&new.state, new.pid),
                "{} was not to be touched: {old:?} became {new:?}",
                old.name
            );
        }
        let made: Vec<&Machine> =
            now.values().filter(|vm| !seen.machines.contains_key(&vm.uuid)).collect();
        let (old, new) = (seen.subject(), named(now, SUBJECT));
        let count = |done: usize, all: usize| match done {
            0 => Progress::None,
            done if done < all => Progress::Some,
            _ => Progress::All,
        };
        if !matches!(self.effect, Effect::Created(..) | Effect::Named) {
            ensure!(made.is_empty(), "came to be: {made:?}");
        }
        Ok(match self.effect {
            Effect::Created(wanted, state) => {
                ensure!(made.len() <= wanted, "too many came to be: {made:?}");
                let whole = made.iter().filter(|vm| vm.state == state).count();
                if made.is_empty() { Progress::None } else { count(whole, wanted).max_some() }
            }
            Effect::Named => count(made.iter().filter(|vm| vm.name == SUBJECT).count(), 1),
            Effect::State(state) => match (old, new) {
                (_, Some(new)) if new.state == state => Progress::All,
                (Some(old), Some(new)) if old.state == new.state => Progress::None,
                _ => Progress::Some,
            },
            Effect::Restarted => match (old, new) {
                (Some(old), Some(new)) if new.state == "running" => {
                    if old.pid == new.pid {
                        Progress::None
                    } else {
                        Progress::All
                    }
                }
                _ => Progress::Some,
            },
            Effect::Ended => match new {
                Some(new) if new.state != "stopped" => Progress::Some,
                Some(new) if new.dir.join("ch.sock").exists() => Progress::None,
                _ => Progress::All,
            },
            Effect::Again => match new {
                Some(new) if new.state == "running" => Progress::All,
                Some(new) if new.state != "stopped" => Progress::Some,
                Some(new) => {
                    let record = std::fs::read_to_string(new.dir.join("restart.json"));
                    match record.unwrap_or_default().contains("\"attempt\":1}") {
                        true => Progress::None,
                        false => Progress::All,
                    }
                }
                None => Progress::Some,
            },
            Effect::Set(line) => {
                let definition = new.map(|new| std::fs::read_to_string(new.dir.join("vm.toml")));
                let text = definition.and_then(Result::ok).unwrap_or_default();
                ensure!(
                    old.map(|old| old.pid) == new.map(|new| new.pid),
                    "it does not run on: {old:?} became {new:?}"
                );
                count(usize::from(text.lines().any(|found| found == line)), 1)
            }
            Effect::Connected => {
                ensure!(
                    old.map(|old| old.pid) == new.map(|new| new.pid),
                    "it does not run on: {old:?} became {new:?}"
                );
                count(ports_of(home, new)?.len(), 1)
            }
            Effect::Removed => match (old, new) {
                (_, None) => Progress::All,
                (Some(old), Some(new)) if old.state == new.state => Progress::None,
                _ => Progress::Some,
            },
            Effect::Node => node(home)?,
            Effect::Parts => match home.parts_that_came()? {
                0 => Progress::None,
                1 => Progress::Some,
                _ => Progress::All,
            },
            Effect::Image(name) => count(usize::from(home.has_image(name)?), 1),
        })
    }

    /// Whether an exit code of the same command, given again when `now` was there, is right.
    pub(crate) fn again_is_fine(
        &self,
        home: &Home,
        seen: &Seen,
        now: &Machines,
        outcome: &Outcome,
    ) -> Result<(), Failure> {
        let here = named(now, SUBJECT).is_some();
        let fine = match outcome.exit {
            Some(0) => true,
            // It is done: there is nothing left to remove.
            Some(3) => self.effect == Effect::Removed && !here,
            // It is done: the name is the machine's.
            Some(6) => match self.effect {
                Effect::Named => here && seen.subject().is_none(),
                Effect::Image(name) => home.has_image(name)?,
                _ => false,
            },
            _ => false,
        };
        let there = if here { "there" } else { "not there" };
        ensure!(fine, "given again (the subject was {there}): {outcome}");
        Ok(())
    }
}

impl Progress {
    /// Something was made, if not as it should be.
    fn max_some(self) -> Self {
        if self == Self::None { Self::Some } else { self }
    }
}

/// How much of a node there is.
fn node(home: &Home) -> Result<Progress, Failure> {
    let root = home.init_root();
    let directories = ["", "vm", "cache"].iter().filter(|name| root.join(name).is_dir()).count();
    let text = tool(audit::vsctl(home.database()).arg("list-br"))?;
    let bridge = text.lines().any(|line| line == INIT_BRIDGE);
    let mut patches = 0;
    for name in [INIT_BRIDGE, UPLINK].into_iter().filter(|name| bridge || *name == UPLINK) {
        let ports = tool(audit::vsctl(home.database()).args(["list-ports", name]))?;
        patches += ports.lines().count();
    }
    ensure!(patches == 0 || (bridge && patches == 2), "half a patch link: {patches} ports");
    Ok(match (directories, bridge, patches) {
        (0, false, _) => Progress::None,
        (3, true, 2) => Progress::All,
        _ => Progress::Some,
    })
}
