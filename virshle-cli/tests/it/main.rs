//! The program itself, run as users and scripts run it, each time in a home of its own.

#![expect(clippy::unwrap_used, reason = "a test that can't go on must fail")]

mod access;
mod bad_input;
mod color;
mod completions;
mod console;
mod first_session;
mod habits;
mod help;
mod home;
mod host;
mod host_key;
mod hostile;
mod image;
mod json;
mod life;
mod logs;
mod manual;
mod net;
mod pipe;
mod removal;
mod run;
mod selection;
mod setup;
mod ssh;
mod ssh_words;
mod table;
mod units;
mod unprivileged;
