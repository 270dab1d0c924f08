//! What the harness is asked for.

use std::path::PathBuf;

use crate::attempt::Mode;
use virshle_testkit::{Failure, While, ensure};

/// The programs under test.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) v: PathBuf,
    pub(crate) hypervisor: PathBuf,
}

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Kills v at every system call that changes something, makes every call fail once, lets the parts
that it depends on die, and races many of it, on a private Open vSwitch and real
cloud-hypervisor processes; prints a table. Without options, or with --short alone, hostile input
for every parser follows (scripts/fuzz).

usage: scripts/torture [OPTIONS]

  --short            a sample, in two minutes; without it all there is time for, in 30
  --minutes N        how long, at most
  --seed N           which sample, and in which order [default: 1]
  --only NAME,…      only these lines of the table, or all `races`, all `parts`
  --mode MODE        only kill-before, kill-after or error
  --point N          only the call of this number, with all output
  --errno NAME       only this error
  --lanes N          how many switches to work on at once [default: the number of cores, at most 4]
  --tolerated        print tries that were tolerated as well
  --calls NAME       list the calls of a command, and do nothing to it
  --v FILE           the v under test
";

/// What the harness is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) programs: Programs,
    pub(crate) short: bool,
    pub(crate) minutes: Option<f64>,
    pub(crate) seed: u64,
    pub(crate) only: Vec<String>,
    pub(crate) mode: Option<Mode>,
    pub(crate) point: Option<usize>,
    pub(crate) errno: Option<String>,
    pub(crate) lanes: usize,
    pub(crate) tolerated: bool,
    pub(crate) calls: bool,
    pub(crate) help: bool,
}

impl Options {
    /// Reads the arguments of a command line.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let hypervisor = std::env::var_os("CLOUD_HYPERVISOR").map(PathBuf::from);
        let mut options = Self {
            programs: Programs {
                v: PathBuf::from("target/release/v"),
                hypervisor: hypervisor.or_else(in_path).unwrap_or_default(),
            },
            short: false,
            minutes: None,
            seed: 1,
            only: Vec::new(),
            mode: None,
            point: None,
            errno: None,
            lanes: cores.clamp(1, 4),
            tolerated: false,
            calls: false,
            help: false,
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| Failure::new(format!("{arg} needs a value")));
            let wrong = || format!("the value of {arg}");
            match arg.as_str() {
                "--help" | "-h" => options.help = true,
                "--tolerated" => options.tolerated = true,
                "--short" => options.short = true,
                "--minutes" => options.minutes = Some(value()?.parse().doing(wrong)?),
                "--seed" => options.seed = value()?.parse().doing(wrong)?,
                "--only" => options.only.extend(value()?.split(',').map(ToOwned::to_owned)),
                "--mode" => options.mode = Some(mode(&value()?)?),
                "--point" => options.point = Some(value()?.parse().doing(wrong)?),
                "--errno" => options.errno = Some(value()?),
                "--lanes" => options.lanes = value()?.parse().doing(wrong)?,
                "--v" => options.programs.v = value()?.into(),
                "--calls" => {
                    options.calls = true;
                    options.only.push(value()?);
                }
                _ => return Err(Failure::new(format!("unknown: {arg}\n{HELP}"))),
            }
        }
        let v = options.programs.v.display();
        ensure!(options.help || options.programs.v.exists(), "{v} is not there: build it first");
        options.programs.v = std::path::absolute(&options.programs.v).doing(|| "v".into())?;
        Ok(options)
    }

    /// Whether that part of the table was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// Where cloud-hypervisor is: found once, so that no try is about looking for it.
fn in_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join("cloud-hypervisor"))
        .find(|path| path.exists())
}

fn mode(arg: &str) -> Result<Mode, Failure> {
    Mode::ALL
        .into_iter()
        .find(|mode| mode.name() == arg)
        .ok_or_else(|| Failure::new(format!("no such mode: {arg}")))
}
