//! `v vm`

mod config;
mod console;
mod create;
mod info;
mod known_hosts;
mod logs;
mod ls;
mod pause;
mod proxy;
mod restart;
mod resume;
mod rm;
mod ssh;
mod start;
mod stop;
mod wait;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(create::Args),
    Ls(ls::Args),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Pause(pause::Args),
    Resume(resume::Args),
    Rm(rm::Args),
    Info(info::Args),
    Config(config::Args),
    Ssh(ssh::Args),
    Console(console::Args),
    Wait(wait::Args),
    Logs(logs::Args),
    #[command(hide = true)]
    Proxy(proxy::Args),
    #[command(hide = true)]
    KnownHosts(known_hosts::Args),
}

impl Command {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Create(args) => create::run(&args, context),
            Self::Ls(args) => ls::run(args, context),
            Self::Start(args) => start::run(args, context),
            Self::Stop(args) => stop::run(args, context),
            Self::Restart(args) => restart::run(args, context),
            Self::Pause(args) => pause::run(args, context),
            Self::Resume(args) => resume::run(args, context),
            Self::Rm(args) => rm::run(args, context),
            Self::Info(args) => info::run(args, context),
            Self::Config(args) => config::run(args, context),
            Self::Ssh(args) => ssh::run(args, context),
            Self::Console(args) => console::run(args, context),
            Self::Wait(args) => wait::run(args, context),
            Self::Proxy(args) => proxy::run(&args, context),
            Self::KnownHosts(args) => known_hosts::run(&args, context),
            Self::Logs(args) => logs::run(args, context),
        }
    }
}
