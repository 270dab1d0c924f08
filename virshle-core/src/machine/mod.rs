//! The two handles, [`Node`](node::Node) and [`Vm`](vm::Vm), and the process behind a machine.

pub(crate) mod caller;
pub(crate) mod capacity;
pub(crate) mod error;
pub(crate) mod hold;
pub(crate) mod kvm;
pub(crate) mod last_exit;
pub(crate) mod logs;
mod lookup;
pub(crate) mod node;
pub(crate) mod oom;
pub(crate) mod parts;
pub(crate) mod status;
pub(crate) mod supervisor;
pub(crate) mod vm;
pub(crate) mod vmm;
pub(crate) mod watch;
