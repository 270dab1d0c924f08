//! Gives a process a scope of its own, with limits.
//!
//! `cargo run --example systemd_scope -- PID`; without a process it says who manages this host.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::process::ExitCode;
use std::time::Duration;

use virshle_systemd::{Manager, Property, SystemdError, UnitName};

const TIMEOUT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let Some(manager) = Manager::of_caller() else {
        println!("systemd does not run this host");
        return ExitCode::SUCCESS;
    };
    let pid = std::env::args().nth(1).and_then(|text| text.parse().ok());
    match show(&manager, pid) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn show(manager: &Manager, pid: Option<u32>) -> Result<(), SystemdError> {
    let mut connection = manager.connect(TIMEOUT)?;
    let Some(pid) = pid else {
        for name in ["Version", "SystemState"] {
            let call = connection.get_property(name)?;
            println!("{name}: {}", connection.wait(call, TIMEOUT)?.unwrap_or_default());
        }
        return Ok(());
    };
    let name = UnitName::new(&format!("example-{pid}"), "scope")?;
    let properties = [
        Property::processes(&[pid]),
        Property::text("Description", "An example of virshle-systemd"),
        Property::number("MemoryMax", 1 << 30),
        Property::number("CPUWeight", 50),
    ];
    let call = connection.start_transient_unit(&name, &properties)?;
    connection.wait(call, TIMEOUT)?;
    println!("process {pid} is in {name}");
    Ok(())
}
