//! Tests of the crate as its users see it.

mod create;
mod lab;
mod life;
mod network;
