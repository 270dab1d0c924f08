//! Tests of the crate as its users see it.
#![expect(clippy::unwrap_used, reason = "a test ends by a panic")]

mod backing;
mod cage;
mod cloud_init;
mod create;
mod heal;
mod image;
mod lab;
mod life;
mod linux_bridge;
mod managed;
mod network;
mod reach;
mod seed;
mod starter;
mod supervise;
mod user_network;
