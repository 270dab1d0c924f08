//! Where a manager listens.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::SystemdError;
use crate::connection::{Connection, Kind};

/// A manager of systemd, and the sockets at which it can be reached, the best first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    pub(crate) sockets: Vec<(PathBuf, Kind)>,
}

impl Manager {
    /// The manager that this process belongs to: the host's for root, its user's own otherwise.
    /// `None` if systemd does not run the host, or the user has no manager.
    ///
    /// # References
    ///
    /// sd_booted(3); systemd's own `systemctl` looks at the same sockets, the private one first: it
    /// is there also while the bus is not.
    pub fn of_caller() -> Option<Self> {
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        if rustix::process::geteuid().is_root() {
            return Some(Self {
                sockets: vec![
                    ("/run/systemd/private".into(), Kind::Private),
                    ("/run/dbus/system_bus_socket".into(), Kind::Bus),
                ],
            });
        }
        let runtime = PathBuf::from(env::var_os("XDG_RUNTIME_DIR")?);
        let private = runtime.join("systemd/private");
        let bus = runtime.join("bus");
        if !private.exists() && !bus.exists() {
            return None;
        }
        Some(Self { sockets: vec![(private, Kind::Private), (bus, Kind::Bus)] })
    }

    /// The manager that listens at `socket` without a bus between.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self { sockets: vec![(socket.into(), Kind::Private)] }
    }

    /// Connects to the manager. Nothing is waited for but a socket that accepts no one for the moment.
    ///
    /// # Errors
    ///
    /// [`SystemdError::Connect`] if no socket accepts a connection.
    pub fn connect(&self, timeout: Duration) -> Result<Connection, SystemdError> {
        Connection::open(&self.sockets, timeout)
    }
}
