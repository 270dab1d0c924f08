//! The program itself, run as users and scripts run it, each time in a home of its own.

#![expect(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod access;
mod bad_input;
mod color;
mod console;
mod first_session;
mod help;
mod home;
mod host;
mod host_key;
mod image;
mod json;
mod life;
mod logs;
mod manual;
mod pipe;
mod selection;
mod ssh;
mod ssh_words;
mod table;
mod unprivileged;
