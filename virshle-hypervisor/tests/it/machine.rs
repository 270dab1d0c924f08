//! A real cloud-hypervisor process in a directory of its own, ended whatever happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use virshle_hypervisor::{
    Client, CpusConfig, Launch, MemoryConfig, PayloadConfig, VmConfig, Vmm, VsockConfig,
    exit_reason_of_machine,
};
use virshle_testkit::TestKernel;

/// What every wait that must succeed is given: only what has gone wrong takes that long, however busy
/// the host is.
pub(crate) const SOON: Duration = Duration::from_secs(120);
/// What keeps a deadline far below [`SOON`] has ended by then, on a busy host too.
pub(crate) const IN_TIME: Duration = Duration::from_secs(30);

pub(crate) fn program() -> PathBuf {
    std::env::var_os("CLOUD_HYPERVISOR").unwrap_or_else(|| "cloud-hypervisor".into()).into()
}

pub(crate) struct Machine {
    pub(crate) directory: TempDir,
    pub(crate) vmm: Vmm,
}

impl Machine {
    /// A process without a machine yet.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let vmm = launch(directory.path()).spawn().unwrap();
        Self { directory, vmm }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn client(&self) -> Client {
        self.vmm.client(SOON)
    }

    /// A small machine that boots `kernel`.
    pub(crate) fn config(&self, kernel: &TestKernel) -> VmConfig {
        // Its socket shows whether the end was orderly.
        small(self.directory.path(), kernel).vsock(VsockConfig::new(3, self.path("ch.vsock")))
    }

    /// Starts that machine.
    pub(crate) fn boot(&self, config: &VmConfig) -> Client {
        let client = self.client();
        client.create(config).unwrap();
        client.boot().unwrap();
        client
    }

    pub(crate) fn exit_reason(&self) -> virshle_hypervisor::ExitReason {
        assert!(self.vmm.wait_exit(SOON), "the process didn't end");
        let (events, log) = (self.path("events.json"), self.path("ch.log"));
        exit_reason_of_machine(&events, &log, &self.path("ch.vsock"))
    }

    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.path("ch.log")).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.vmm.kill());
        self.vmm.wait_exit(SOON);
    }
}

pub(crate) fn launch(directory: &Path) -> Launch {
    Launch::new(&program(), &directory.join("ch.sock"))
        .log_file(directory.join("ch.log"))
        .event_file(directory.join("events.json"))
}

pub(crate) fn small(directory: &Path, kernel: &TestKernel) -> VmConfig {
    let kernel = PayloadConfig::kernel(kernel.write(directory).unwrap());
    // Snapshots fail where KVM itself runs in a machine and lends out that ability.
    VmConfig::new(CpusConfig::new(1).nested(false), MemoryConfig::new(64 << 20), kernel)
}

/// The messages of an error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}
