//! What a machine is, as plain data: no process is asked here, and no file but a definition is read.

pub(crate) mod change;
pub(crate) mod definition;
pub(crate) mod identity;
pub(crate) mod name;
pub(crate) mod past_run;
pub(crate) mod port_name;
pub(crate) mod restart_state;
pub(crate) mod run;
pub(crate) mod selector;
pub(crate) mod state;
pub(crate) mod timestamp;
