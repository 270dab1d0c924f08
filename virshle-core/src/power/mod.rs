//! A machine on and off: start, stop, pause, resume.

pub(crate) mod ended;
pub(crate) mod error;
pub(crate) mod pause;
pub(crate) mod restart;
pub(crate) mod resume;
pub(crate) mod start;
pub(crate) mod stop;
