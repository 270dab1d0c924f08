//! The arguments of the command line.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{Failure, While};
use crate::lab::Programs;
use crate::program;
use crate::scenario::Scenario;
use crate::scenarios;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
usage: scripts/e2e [OPTIONS] [SCENARIO…]

Runs the scenarios named, or all of them but those that are played only when they
are named, and closes with a line `N passed, N failed, N skipped`.

  --list       name the scenarios
  --shell      give a shell on a nested host with v, Open vSwitch and cloud-hypervisor
  --jobs N     play N scenarios at a time [default: 2, or 1 with a single core or
               less than 12 GiB of free memory]
  --within N   skip, loudly, what can't be done within N minutes
  --tries N    play a scenario that fails up to N times, and tell so [default: 1]
  --v FILE     the program under test
  --help       this

  CLOUD_HYPERVISOR   the cloud-hypervisor to use [default: the one in PATH]
  E2E_CACHE          where images are kept [default: target/e2e-cache]
  E2E_PASST          a folder with a passt of its own that runs on the nested host
  E2E_MACHINES       how many machines many_end ends at once [default: 30]
  E2E_CUTS           how often power_cut cuts the power [default: 20]
  E2E_SEED           the seed of its randomness [default: the time]";

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Run,
    List,
    Shell,
    Help,
}

/// How it is to be done.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) wish: Wish,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) jobs: usize,
    pub(crate) tries: usize,
    pub(crate) within: Option<Duration>,
    pub(crate) programs: Programs,
    pub(crate) cache: PathBuf,
    pub(crate) logs: PathBuf,
}

impl Options {
    /// Reads the arguments, and the environment for the rest.
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = here.parent().unwrap_or(here).join("target");
        let cloud_hypervisor =
            env::var_os("CLOUD_HYPERVISOR").unwrap_or_else(|| OsString::from("cloud-hypervisor"));
        let mut options = Self {
            wish: Wish::Run,
            scenarios: Vec::new(),
            jobs: default_jobs(),
            tries: 1,
            within: None,
            programs: Programs {
                v: target.join("release/v"),
                // Its absence is reported with what else is missing.
                cloud_hypervisor: program::find(&cloud_hypervisor)
                    .unwrap_or_else(|| PathBuf::from(cloud_hypervisor)),
            },
            cache: env::var_os("E2E_CACHE").map_or_else(|| target.join("e2e-cache"), PathBuf::from),
            logs: target.join("e2e-logs"),
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| Failure::new(format!("{arg} needs a value")));
            match arg.as_str() {
                "--help" | "-h" => options.wish = Wish::Help,
                "--list" => options.wish = Wish::List,
                "--shell" => options.wish = Wish::Shell,
                "--jobs" => options.jobs = value()?.parse().doing(|| "--jobs".to_owned())?,
                "--tries" => {
                    options.tries =
                        value()?.parse::<usize>().doing(|| "--tries".to_owned())?.max(1);
                }
                "--within" => {
                    let minutes = value()?.parse::<u64>().doing(|| "--within".to_owned())?;
                    options.within = Some(Duration::from_secs(60 * minutes));
                }
                "--v" => options.programs.v = PathBuf::from(value()?),
                name => options.scenarios.push(scenario(name)?),
            }
        }
        if options.scenarios.is_empty() {
            options.scenarios.extend(scenarios::ALL);
        }
        options.jobs = options.jobs.clamp(1, options.scenarios.len());
        Ok(options)
    }
}

fn scenario(name: &str) -> Result<Scenario, Failure> {
    let all = || scenarios::ALL.iter().chain(scenarios::BY_NAME);
    all().find(|scenario| scenario.name == name).copied().ok_or_else(|| {
        let known: Vec<_> = all().map(|scenario| scenario.name).collect();
        Failure::new(format!("no scenario {name}; there are {}", known.join(", ")))
    })
}

/// Two where two nested hosts don't take each other's processor or memory.
fn default_jobs() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free_kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB"))
        .and_then(|value| value.parse::<u64>().ok())
        .unwrap_or(0);
    if cores >= 2 && free_kib >= 12 << 20 { 2 } else { 1 }
}
