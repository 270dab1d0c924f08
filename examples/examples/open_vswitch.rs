//! Prints what an Open vSwitch can do, and what is on it.
//!
//! `cargo run --example open_vswitch -- [ADDRESS]`; the address is `unix:/run/openvswitch/db.sock`
//! if none is given. It changes nothing.

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use virshle_net::ovsdb::Address;
use virshle_net::{NetError, Switch};

fn main() -> ExitCode {
    let address = match std::env::args().nth(1) {
        Some(text) => text.parse(),
        None => Ok(Address::default()),
    };
    match address.and_then(|address| show(&address)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ NetError::Connect { .. }) => {
            println!("no Open vSwitch here: {error}");
            print_hint(&error);
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                println!("  caused by: {error}");
                cause = error.source();
            }
            print_hint(&error);
            ExitCode::FAILURE
        }
    }
}

fn print_hint(error: &NetError) {
    if let Some(hint) = error.hint() {
        println!("  hint: {hint}");
    }
}

fn show(address: &Address) -> Result<(), NetError> {
    let mut switch = Switch::connect(address, Duration::from_secs(5))?;
    let found = switch.capabilities()?;
    println!("Open vSwitch {} at {address}", found.version.as_deref().unwrap_or("(no version)"));
    println!("  datapaths: {}", found.datapath_types.join(", "));
    println!("  interface types: {}", found.iface_types.join(", "));
    let vhost = if found.can_vhost_user() { "yes" } else { "no (DPDK is not up)" };
    println!("  vhost-user ports: {vhost}");
    for bridge in switch.bridges()? {
        println!("bridge {} ({} datapath)", bridge.name, bridge.datapath);
        for port in switch.port_names(&bridge.name)? {
            println!("  port {port}");
        }
    }
    for port in switch.owned_ports()? {
        println!("machine {} has {} port {}", port.owner.name, port.kind, port.name);
    }
    Ok(())
}
