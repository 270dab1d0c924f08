//! Starts a cloud-hypervisor process in a temporary directory, asks it who it is, and ends it.
//!
//! `cargo run -p virshle-examples --example cloud_hypervisor [PROGRAM]`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints")]

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use virshle_hypervisor::{
    CpusConfig, HypervisorError, Launch, MemoryConfig, PayloadConfig, VmConfig, exit_reason,
};

fn main() -> ExitCode {
    let program = std::env::args_os().nth(1).unwrap_or_else(|| "cloud-hypervisor".into());
    let directory = std::env::temp_dir().join(format!("virshle-example-{}", std::process::id()));
    let result = std::fs::create_dir(&directory)
        .map_err(|source| HypervisorError::Log { path: directory.clone(), source });
    let result = result.and_then(|()| run(Path::new(&program), &directory));
    drop(std::fs::remove_dir_all(&directory));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("This example starts cloud-hypervisor, and could not: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            if let Some(hint) = error.hint() {
                eprintln!("What helps: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(program: &Path, directory: &Path) -> Result<(), HypervisorError> {
    let (log, events) = (directory.join("ch.log"), directory.join("events.json"));
    let launch =
        Launch::new(program, &directory.join("ch.sock")).log_file(&log).event_file(&events);
    // Whatever fails below, no process is left behind.
    let vmm = launch.spawn()?.kill_on_drop();
    let client = vmm.client(Duration::from_secs(5));
    println!("cloud-hypervisor {} runs as process {}", client.ping()?.version, vmm.pid());

    // Nothing checks before boot whether the kernel exists: this machine is only defined.
    let kernel = PayloadConfig::kernel("/boot/vmlinux");
    let config = VmConfig::new(CpusConfig::new(1), MemoryConfig::new(64 << 20), kernel);
    client.create(&config)?;
    println!("its machine is {}", client.info()?.state);

    client.shutdown_vmm()?;
    let ended = vmm.wait_exit(Duration::from_secs(10));
    println!("it has ended: {ended}, by request of: {}", exit_reason(&events, &log));
    Ok(())
}
