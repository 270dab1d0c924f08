//! What a machine is, as plain data: no file is read and no process is asked here.

pub(crate) mod change;
pub(crate) mod definition;
pub(crate) mod name;
pub(crate) mod selector;
pub(crate) mod state;
