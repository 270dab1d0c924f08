//! A machine for each CI job: creates one, runs a command in it by ssh, removes it whatever happens, and ends with the
//! command's exit code.
//!
//! `ci_job CONFIG TEMPLATE COMMAND…`. Without arguments it shows a machine's life with a template of its own, as far as
//! this host can. ssh reaches the guest through this program itself: `ci_job proxy CONFIG UUID` hands it the connection.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use virshle_core::template::Config;
use virshle_core::{
    Awaited, CreateRequest, Force, Node, SSH_PORT, Selection, SshRequest, StartOptions, Vm,
    start_many,
};

/// How long a guest may take to boot.
const BOOT: Duration = Duration::from_secs(180);

const OWN: &str = r#"
[[template.vm]]
name = "job"
vcpu = 1
vram = "64MiB"

[[template.vm.disk]]
name = "work"
size = "1G"
"#;

/// Removes the machine when the job is over, also when it failed half-way.
struct Job(Vm);

impl Drop for Job {
    fn drop(&mut self) {
        match self.0.remove(Force::Yes) {
            Ok(()) => println!("machine {} is gone", self.0.name()),
            Err(error) => println!("machine {} is left: {error}", self.0.name()),
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [verb, config, uuid] if verb == "proxy" => {
            let node = Node::new(Config::load(Path::new(config))?, None);
            let vm = node.select(&Selection::word(uuid))?.pop().ok_or("no such machine")?;
            vm.connect_when_up(SSH_PORT, BOOT, |_| {})?.hand_over(std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        [config, template, command @ ..] if !command.is_empty() => {
            let config = std::fs::canonicalize(config)?;
            let node = Node::new(Config::load(&config)?, None);
            let job = begin(&node, template)?;
            run(&job.0, config, command)
        }
        _ => {
            let directory = tempfile::tempdir()?;
            let config = Config::from_toml(OWN, &directory.path().join("config.toml"))?;
            let node = Node::new(config, Some(&directory.path().join("node")));
            match begin(&node, "job") {
                Ok(job) => println!("machine {} is {}", job.0.name(), job.0.state()),
                Err(error) => println!("this host has no machine for a job: {error}"),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Creates and starts the machine of a job.
fn begin(node: &Node, template: &str) -> Result<Job, Box<dyn Error>> {
    let created = node.create(&CreateRequest::new(template), &|_| {})?.pop().ok_or("no machine")?;
    let job = Job(created.result?);
    for started in
        start_many(std::slice::from_ref(&job.0), &StartOptions::default(), |_, result| result)
    {
        started?;
    }
    Ok(job)
}

/// Waits for the guest's ssh server, and runs the command there.
fn run(vm: &Vm, config: PathBuf, command: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    vm.wait(Awaited::Ssh, BOOT)?;
    let this = std::env::current_exe()?;
    // ssh adds the machine's uuid to it.
    let proxy = [this.into_os_string(), "proxy".into(), config.into_os_string()];
    let status = vm.ssh(&SshRequest::new(proxy).command(command))?.status()?;
    println!("the job ended with {status}");
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
