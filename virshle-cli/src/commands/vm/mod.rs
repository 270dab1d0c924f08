//! `v vm`: the commands for machines.

mod autostart;
mod config;
mod console;
mod create;
mod held;
mod hosts;
mod info;
mod known_hosts;
mod logs;
mod ls;
mod pause;
mod proxy;
mod publish;
pub(crate) mod reap;
mod restart;
mod resume;
mod rm;
mod set;
pub(crate) mod ssh;
mod start;
mod stop;
mod wait;
mod why;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Create machines from a template
    ///
    /// Each machine gets disks of its own, cloned from the template's images
    Create(create::Args),
    /// List machines
    ///
    /// With -v also template, process, networks, addresses, creation time and uuid. A log of a running
    /// machine that exceeds 16 MiB is cut at its beginning
    #[command(aliases = ["list", "ps"])]
    Ls(ls::Args),
    /// Start machines, and wait until they run
    Start(start::Args),
    /// Shut down machines, and wait until they are off
    ///
    /// Each guest is sent an ACPI power button event, and shuts down by itself
    #[command(aliases = ["shutdown"])]
    Stop(stop::Args),
    /// Restart machines; start those that are stopped
    #[command(aliases = ["reboot"])]
    Restart(restart::Args),
    /// Pause machines, keeping their memory
    Pause(pause::Args),
    /// Resume paused machines
    #[command(aliases = ["unpause"])]
    Resume(resume::Args),
    /// Remove machines and their disks permanently
    #[command(aliases = ["remove", "delete"])]
    Rm(rm::Args),
    /// Show details of a machine
    #[command(aliases = ["show", "inspect"])]
    Info(info::Args),
    /// Show how the last runs of a machine ended, by whom, and what shows it
    ///
    /// The newest first. How a run ended: guest (it powered itself off), stopped, forced, crashed, panic,
    /// oom (killed for want of memory), host (it went down), unknown
    Why(why::Args),
    /// Publish ports of machines on this host, or list those that are published
    ///
    /// A port is given as in a template: 8080:80, 127.0.0.1:2222:22, 5353:53/udp (the host's port, then the
    /// guest's). On the managed network it is there at once, and as long as the machine runs; on a user network
    /// from the machine's next start on
    Publish(publish::Args),
    /// Change settings of machines, running or not
    ///
    /// Settings: autostart=on|off, order=N and delay=SECONDS (among those that start with the host),
    /// restart=no|on-failure|always, watchdog=on|off (from the next start on). Limits, at once where systemd
    /// supervises the machine: cpu_weight=N, cpu_limit=PERCENT%, cpu_affinity=CPUS, memory_overhead=SIZE,
    /// io_weight=N, pids=N; without a value there is none
    Set(set::Args),
    /// Show or set whether machines start with the host
    Autostart(autostart::Args),
    /// Print a machine's definition
    ///
    /// As it is stored in its directory (vm.toml); or, with an option, as it is passed to
    /// cloud-hypervisor
    Config(config::Args),
    /// Open an ssh session in a machine, or run a command there
    #[command(aliases = ["shell"])]
    Ssh(ssh::Args),
    /// Attach to a machine's serial console (Ctrl-] detaches)
    ///
    /// The guest's latest output is printed first. Any number of terminals may be attached at once. A
    /// serial line has no window size: set it in the guest with `stty rows N cols N`
    Console(console::Args),
    /// Wait until machines run, have an address or accept ssh
    Wait(wait::Args),
    /// Print the logs of machines
    ///
    /// On a terminal only text and colours are printed: other control sequences, which a guest may
    /// have written, are left out
    Logs(logs::Args),
    /// Connect stdin and stdout to the ssh server of a machine
    ///
    /// For `ProxyCommand` of ssh_config(5), as `v node ssh-config` prints it
    #[command(hide = true)]
    Proxy(proxy::Args),
    /// Remove machines when the command that they belong to has ended
    ///
    /// `v run --rm` runs it: it reads uuids from stdin, and begins when that ends
    #[command(hide = true)]
    Reap(reap::Args),
    /// Print the names by which ssh reaches machines
    ///
    /// For a shell that completes them, as `v completions` prints it
    #[command(hide = true)]
    Hosts(hosts::Args),
    /// Print the host keys of a machine, and record the first one
    ///
    /// For `KnownHostsCommand` of ssh_config(5), as `v node ssh-config` prints it
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
            Self::Why(args) => why::run(args, context),
            Self::Publish(args) => publish::run(args, context),
            Self::Set(args) => set::run(args, context),
            Self::Autostart(args) => autostart::run(args, context),
            Self::Config(args) => config::run(args, context),
            Self::Ssh(args) => {
                context.text_only("v vm ssh")?;
                ssh::run(args, context)
            }
            Self::Console(args) => {
                context.text_only("v vm console")?;
                console::run(args, context)
            }
            Self::Wait(args) => wait::run(args, context),
            Self::Proxy(args) => {
                context.text_only("v vm proxy")?;
                proxy::run(&args, context)
            }
            Self::KnownHosts(args) => {
                context.text_only("v vm known-hosts")?;
                known_hosts::run(&args, context)
            }
            Self::Reap(args) => reap::run(&args, context),
            Self::Hosts(args) => hosts::run(&args, context),
            Self::Logs(args) => logs::run(args, context),
        }
    }
}
