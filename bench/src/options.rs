//! The arguments of the command line.

use std::path::PathBuf;

use crate::parts;
use virshle_testkit::{Failure, ensure};

pub(crate) const HELP: &str = "\
scripts/bench [OPTIONS] [PART…]: whole commands, each beside its floor, in one run

Parts, all of them unless some are named:
  process    v --version; the size of the binary; the peak memory of listings
  ls         v vm ls of stopped and running machines; how it grows
  create     v vm create without a disk, by reflink, copy and overlay; how it grows
  start      v vm start without a network, with a tap, with vhost-user
  user       v vm start with a user network, beside one without a network
  cage       what the cage of a VMM costs its start
  ports      a port of Open vSwitch, with 10 and 500 ports there
  many       100 machines at once
  libvirt    the same by libvirt and QEMU's tools
  against    ls, create and start beside those of the build that --against names

Options:
  --quick         fewer rounds, and not the longest of them
  --v FILE        the program to be measured
  --against FILE  another build of it, for the part `against`
  --strict        fail if a budget is missed
  -h, --help      this";

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) parts: Vec<String>,
    pub(crate) quick: bool,
    pub(crate) strict: bool,
    pub(crate) help: bool,
    pub(crate) v: PathBuf,
    pub(crate) against: Option<PathBuf>,
}

impl Options {
    pub(crate) fn from_args(args: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self { v: "target/release/v".into(), ..Self::default() };
        let mut args = args;
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--strict" => options.strict = true,
                "-h" | "--help" => options.help = true,
                "--v" => {
                    let path = args.next().ok_or_else(|| Failure::new("--v needs a file"))?;
                    options.v = path.into();
                }
                "--against" => {
                    let path = args.next().ok_or_else(|| Failure::new("--against needs a file"))?;
                    options.against = Some(path.into());
                }
                part => {
                    let known = parts::ALL.iter().any(|(name, _)| *name == part);
                    ensure!(known, "there is no part {part:?}; see --help");
                    options.parts.push(arg);
                }
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// How often something is measured: `full` times, or a third of that.
    pub(crate) fn rounds(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(3).max(3) } else { full }
    }
}
