//! The beginning and the end of a machine.

pub(crate) mod adopt;
pub(crate) mod create;
pub(crate) mod error;
pub(crate) mod publish;
pub(crate) mod remove;
pub(crate) mod settings;
