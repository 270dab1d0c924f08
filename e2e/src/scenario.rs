//! What a scenario is, and the stage it plays on.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::failure::{Failure, While};
use crate::host::{COMMAND, Host};
use crate::image::Images;
use crate::lab::{HostDirectory, Lab};

/// An independent proof that something works end to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Where the time is limited, it isn't begun with less than this left: about three times what it
    /// takes on an idle machine.
    pub(crate) takes: Duration,
    pub(crate) run: fn(&Stage<'_>) -> Result<(), Failure>,
}

/// What a scenario plays on: nested hosts with disks of its own.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    lab: &'a Lab,
    directory: HostDirectory,
    /// Where what a person needs after a failure is kept.
    logs: PathBuf,
    notes: RefCell<Vec<String>>,
    end: Option<Instant>,
}

impl<'a> Stage<'a> {
    /// A stage with fresh disks.
    pub(crate) fn new(
        lab: &'a Lab,
        name: &str,
        logs: PathBuf,
        end: Option<Instant>,
    ) -> Result<Self, Failure> {
        Ok(Self { lab, directory: lab.disks(name)?, logs, notes: RefCell::default(), end })
    }

    /// What the lab is built of.
    pub(crate) fn images(&self) -> &Images {
        self.lab.images()
    }

    /// How much time is left, where it is limited.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Plays on a host that has booted, with nothing of Virshle on it but the program.
    pub(crate) fn on_host<T>(
        &self,
        play: impl FnOnce(&Host) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let host = self.lab.restore(&self.directory)?;
        self.watch(&host, play)
    }

    /// Plays on a host that boots from what the one before has left on the disks, and hands it back
    /// running.
    pub(crate) fn on_booted_host<T>(
        &self,
        play: impl FnOnce(&Host) -> Result<T, Failure>,
    ) -> Result<(Host, T), Failure> {
        let booted = self.lab.boot(&self.directory);
        let host = booted.inspect_err(|_| self.directory.keep_logs(&self.logs))?;
        let result = self.watch(&host, play)?;
        Ok((host, result))
    }

    /// Powers the host on and doesn't wait for anything.
    pub(crate) fn power_on(&self) -> Result<Host, Failure> {
        self.lab.power_on(&self.directory)
    }

    /// Says something about the run that its reader should know.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }

    /// What was noted.
    pub(crate) fn into_notes(self) -> Vec<String> {
        self.notes.into_inner()
    }

    /// Plays, and keeps what the host knows when it fails.
    fn watch<T>(
        &self,
        host: &Host,
        play: impl FnOnce(&Host) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        play(host).inspect_err(|_| {
            let found = host.sh(DIAGNOSIS, COMMAND).map(|outcome| outcome.stdout + &outcome.stderr);
            let text = found.unwrap_or_else(|failure| failure.to_string());
            self.directory.keep_logs(&self.logs);
            let path = self.logs.join("diagnosis.txt");
            match std::fs::write(&path, text).doing(|| "cannot write".to_owned()) {
                Ok(()) => self.note(format!("what the nested host knew: {}", path.display())),
                Err(failure) => self.note(failure.to_string()),
            }
        })
    }
}

/// What is looked at after a failure.
const DIAGNOSIS: &str = r"
exec 2>&1
show() { echo; echo \$ $*; $*; }
show date
show cat /etc/virshle/config.toml
show v vm ls -v
show v node check
show ps -ef
show ip address
show ovs-vsctl --timeout=5 show
show ovs-ofctl --timeout=5 -O OpenFlow14 dump-flows br0
show cat /run/e2e-leases
show ls -lR /var/lib/virshle/vm
for machine in /var/lib/virshle/vm/*; do
    for file in vm.toml ch.log events.json serial.log; do show tail -n 40 $machine/$file; done
done
show tail -n 60 /var/log/openvswitch/ovs-vswitchd.log
show journalctl --no-pager -n 100
show free -m
";

/// The lines of a template that boots the small guest; its network and disks follow.
pub(crate) const TINY: &str = r#"vcpu = 1
vram = "192MiB"
kernel = "/var/lib/virshle/cache/vmlinuz"
initramfs = "/var/lib/virshle/cache/tiny.img"
cmdline = "console=ttyS0 quiet""#;

/// The configuration's part for machines on a bridge of the kernel's datapath.
pub(crate) const SYSTEM_BRIDGE: &str = "[network]\ndatapath = \"system\"\n";
