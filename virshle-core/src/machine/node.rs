//! The node: this host as a home of machines.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use uuid::Uuid;
use virshle_hypervisor::LogKeeper;
use virshle_net::Switch;
use virshle_template::{Config, NodeSettings};

use crate::machine::error::MachineError;
use crate::machine::status::{Status, status};
use crate::store::Store;

/// This host as a home of machines: the configuration and the directory they live in.
///
/// Opening one touches nothing; every operation reads the directory anew. Clones are cheap and share
/// the configuration.
///
/// Run by root, every operation refuses a configuration, a root, or a machine's directory that another
/// user owns or can write to ([`FileError::Untrusted`](crate::FileError::Untrusted)), as sudo(8) and
/// sshd(8) refuse theirs: root would run the programs that they name.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    store: Store,
    host: String,
    log_keeper: OnceLock<LogKeeper>,
}

impl Node {
    /// The node that `config` describes, in `root` if one is given.
    pub fn new(config: Config, root: Option<&Path>) -> Self {
        let root = root
            .map(Path::to_owned)
            .or_else(|| config.node.root.clone())
            .unwrap_or_else(NodeSettings::default_root);
        // Sockets are named by absolute paths, and so is everything in a definition.
        let root = std::path::absolute(&root).unwrap_or(root);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut store = Store::new(root);
        if let Some(origin) = config.origin() {
            store = store.distrusting(origin, config.distrust());
        }
        Self { inner: Arc::new(Inner { config, store, host, log_keeper: OnceLock::new() }) }
    }

    /// Has a process beside each machine that is started from now on keep its VMM's log and events within
    /// bounds. Without, they are cut when they are [looked at](Self::bound_logs).
    pub fn keep_logs_by(&self, keeper: LogKeeper) {
        // A second one would be as good.
        drop(self.inner.log_keeper.set(keeper));
    }

    pub(crate) fn log_keeper(&self) -> Option<&LogKeeper> {
        self.inner.log_keeper.get()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The directory the machines live in.
    pub fn root(&self) -> &Path {
        self.inner.store.root()
    }

    /// Where images are kept.
    pub fn cache(&self) -> PathBuf {
        self.inner.store.cache()
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// The node's name: the host's unless the configuration sets another.
    pub fn alias(&self) -> &str {
        self.config().node.alias.as_deref().unwrap_or_else(|| self.host())
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn status(&self, uuid: Uuid) -> Status {
        status(&self.store().directory(uuid), &self.config().hypervisor.program)
    }

    /// Connects to the configured Open vSwitch.
    pub(crate) fn switch(&self, timeout: Duration) -> Result<Switch, MachineError> {
        let ovsdb = &self.config().network.ovsdb;
        let failed = |source| MachineError::Switch {
            doing: format!("reach Open vSwitch at {ovsdb}"),
            source,
        };
        let address = ovsdb.parse().map_err(failed)?;
        Switch::connect(&address, timeout).map_err(failed)
    }

    /// The mark of this node's ports: the directory its machines live in.
    pub(crate) fn mark(&self) -> String {
        self.root().display().to_string()
    }
}
