//! What can go wrong, by operation.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::unit_name::InvalidUnitName;

/// What failed between this process and a manager.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each field stands in its variant's message")]
pub enum SystemdError {
    /// No manager listens there, or it refuses this user.
    #[error("cannot connect to systemd at {}", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },

    /// The manager did not answer in time.
    #[error("systemd did not answer {what} within {} ms", .timeout.as_millis())]
    Silent { what: &'static str, timeout: Duration },

    /// The connection broke.
    #[error("the connection to systemd broke during {what}")]
    Broken { what: &'static str, source: io::Error },

    /// What came is no message of D-Bus.
    #[error("cannot understand systemd's answer to {what}")]
    Malformed { what: &'static str, source: MalformedMessage },

    /// The manager refused the call.
    #[error("systemd refused {what}: {message} ({name})")]
    Refused {
        what: &'static str,
        /// The name of the error, such as `org.freedesktop.systemd1.UnitExists`.
        name: String,
        message: String,
    },

    /// A unit can't have that name.
    #[error(transparent)]
    UnitName(#[from] InvalidUnitName),
}

impl SystemdError {
    /// Whether a unit of that name is there already.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Refused { name, .. }
            if name == "org.freedesktop.systemd1.UnitExists"
            || name == "org.freedesktop.DBus.Error.FileExists")
    }

    /// Whether it was refused because the host goes down: what would be started is to be stopped.
    pub fn is_going_down(&self) -> bool {
        matches!(self, Self::Refused { name, .. }
            if name == "org.freedesktop.systemd1.TransactionIsDestructive"
            || name == "org.freedesktop.systemd1.ShuttingDown")
    }

    /// Whether what was asked about is not there: the unit, or the process.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { name, .. }
            if name == "org.freedesktop.systemd1.NoSuchUnit"
            || name == "org.freedesktop.DBus.Error.UnixProcessIdUnknown"
            || name == "org.freedesktop.systemd1.NoSuchProcess"
            || name == "org.freedesktop.DBus.Error.FileNotFound"
            || name == "org.freedesktop.systemd1.NoSuchUnitFile"
            || name == "System.Error.ESRCH")
    }
}

/// Why bytes are no message of D-Bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedMessage {
    /// It ends in the middle of a value.
    #[error("it is cut short")]
    Short,
    /// Neither little nor big endian, or not version 1.
    #[error("it does not begin as a message does")]
    Beginning,
    /// It announces more than is read.
    #[error("it is too long")]
    TooLong,
    /// A text is not UTF-8, or does not end with a zero byte.
    #[error("a text in it is none")]
    Text,
    /// A header field has another type than it must have.
    #[error("a field of its header has the wrong type")]
    Field,
    /// The answer of the authentication is none.
    #[error("it is not the answer of an authentication")]
    Authentication,
}
