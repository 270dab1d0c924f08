//! passt: the network of a virtual machine in user space, without root, bridge or switch.
//!
//! passt translates the guest's Ethernet frames to ordinary sockets of an ordinary user. Here it is
//! the vhost-user back end: it listens at a socket, and the virtual machine monitor connects.
//!
//! - [`check_passt`] checks whether a program is a passt that can do that.
//! - A [`PasstRequest`] has what the guest gets: its addresses, its resolver, the [`Forward`]s from
//!   the host's ports to its own. [`PasstRequest::start`] starts it, detached.
//! - A [`Passt`] is a process that runs, held so that it can't come to mean another one, and found
//!   again by [`Passt::find`] and [`Passt::all_under`].
//! - [`Forward::check_free`] checks whether a port is free on this host; a [`Holder`] is the process that has it.

mod arguments;
mod error;
mod forward;
mod free_port;
mod holder;
mod process;
mod program;
mod request;
mod resolver;
mod start;

pub use error::PasstError;
pub use forward::{Forward, ForwardProtocol};
pub use holder::Holder;
pub use process::Passt;
pub use program::{PasstVersion, check_passt};
pub use request::PasstRequest;
pub use resolver::host_resolver;
pub use start::StartingPasst;
pub(crate) use start::finish;
