//! A machine on and off: start, stop, pause, resume.

pub(crate) mod start;
pub(crate) mod stop;
