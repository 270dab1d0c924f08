//! `v net ls`: lists the bridges of the switch and their ports.

use anstyle::Style;
use virshle_core::{BridgeInfo, GuardCondition, PortInfo, PortRole};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint::{self, Paint};
use crate::table::Table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// The longest name of a machine that the table has whole: a terminal has 80 columns.
const LONGEST_NAME: usize = 18;
/// The longest address: a longer one is IPv6's, and is cut in the middle.
const LONGEST_ADDRESS: usize = 17;

const COLUMNS: [&str; 6] = ["port", "machine", "vlan", "address", "link", "dropped"];
const DETAILS: [&str; 5] = ["type", "sends", "gets", "in", "out"];

pub(crate) fn run(_: &Args, context: &Context) -> Result<(), CliError> {
    let bridges = context.node()?.networks()?;
    let output = &context.output;
    if output.json {
        return output.json(&bridges);
    }
    for bridge in &bridges {
        let details = if context.verbose > 0 { &DETAILS[..] } else { &[] };
        let mut table = Table::new(output.paint, COLUMNS.iter().chain(details).copied());
        for port in &bridge.ports {
            let more = if context.verbose > 0 { detailed(port) } else { Vec::new() };
            table.row(cells(port, context.verbose > 0).into_iter().chain(more));
        }
        output.table(&heading(bridge, output.paint), table);
        for port in &bridge.ports {
            if let Some(error) = &port.error {
                output.line(&format!("  {}: {}", escape(&port.port), escape(error)));
            }
        }
    }
    if bridges.is_empty() {
        output.note("the switch has no bridge; `v node init` creates one");
    }
    Ok(())
}

fn heading(bridge: &BridgeInfo, paint: Paint) -> String {
    let name = paint.paint(paint::STRONG, &escape(&bridge.name));
    let of_node = if bridge.of_node { ", of this node" } else { "" };
    format!("{name} ({} datapath{of_node})\n", bridge.datapath)
}

fn cells(port: &PortInfo, whole: bool) -> Vec<(String, Style)> {
    let plain = |text: String| (text, Style::new());
    let machine = match port.role {
        PortRole::Machine => port.machine.clone().unwrap_or_default(),
        PortRole::Host => "(host)".into(),
        PortRole::Link => format!("(to {})", port.peer.as_deref().unwrap_or("nowhere")),
        _ => String::new(),
    };
    let link = match (port.link, &port.error) {
        (_, Some(_)) => ("failed".to_owned(), paint::ERROR),
        (Some(true), None) => ("up".into(), paint::GOOD),
        (Some(false), None) => ("down".into(), paint::WARNING),
        (None, None) => (String::new(), Style::new()),
    };
    vec![
        plain(port.port.clone()),
        plain(if whole { machine } else { cut(&machine, LONGEST_NAME) }),
        plain(vlan(port)),
        plain(address(port, whole)),
        link,
        guard(port),
    ]
}

fn vlan(port: &PortInfo) -> String {
    let trunk: Vec<String> = port.trunk.iter().map(ToString::to_string).collect();
    match (port.vlan, port.every_vlan) {
        (Some(vlan), _) => vlan.to_string(),
        // A patch port carries all that its bridge does.
        (None, true) if port.role == PortRole::Link => "all".into(),
        (None, true) => if port.role == PortRole::Machine { "all" } else { "" }.into(),
        (None, false) => trunk.join(" "),
    }
}

fn address(port: &PortInfo, whole: bool) -> String {
    let addresses: Vec<String> = port.addresses.iter().map(|one| one.ip.to_string()).collect();
    if whole {
        return addresses.join(" ");
    }
    match &addresses[..] {
        [] => String::new(),
        [one] => cut(one, LONGEST_ADDRESS),
        [first, rest @ ..] => format!("{} +{}", cut(first, LONGEST_ADDRESS), rest.len()),
    }
}

/// What the guard has dropped, or what is wrong with it.
fn guard(port: &PortInfo) -> (String, Style) {
    let Some(guard) = port.guard else { return (String::new(), Style::new()) };
    match guard.state {
        GuardCondition::On if guard.dropped == 0 => ("0".into(), Style::new()),
        GuardCondition::On => (guard.dropped.to_string(), paint::WARNING),
        GuardCondition::Trusted => ("trusted".into(), paint::FAINT),
        GuardCondition::Missing => ("no guard".into(), paint::ERROR),
        _ => ("?".into(), Style::new()),
    }
}

fn detailed(port: &PortInfo) -> Vec<(String, Style)> {
    let rate =
        |bits: Option<u64>| bits.map_or(String::new(), |bits| format!("≤ {}", bit_rate(bits)));
    let traffic = &port.traffic;
    let amount = |bytes, dropped: u64| {
        let lost = if dropped > 0 { format!(" ({dropped} dropped)") } else { String::new() };
        format!("{}{lost}", virshle_core::template::ByteSize::from_bytes(bytes))
    };
    [
        port.kind.to_string(),
        rate(port.from_machine_bits),
        rate(port.to_machine_bits),
        amount(traffic.rx_bytes, traffic.rx_dropped),
        amount(traffic.tx_bytes, traffic.tx_dropped),
    ]
    .map(|cell| (cell, Style::new()))
    .into()
}

/// A rate, in the unit in which it has the fewest digits.
fn bit_rate(bits: u64) -> String {
    for (unit, name) in [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")] {
        if bits >= unit {
            let whole = bits / unit;
            let tenth = bits % unit * 10 / unit;
            return if tenth == 0 {
                format!("{whole} {name}")
            } else {
                format!("{whole}.{tenth} {name}")
            };
        }
    }
    format!("{bits} bit/s")
}

/// A text of no more than `longest` characters, the end left out.
fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_the_table_is_cut() {
        assert_eq!(cut("web", 18), "web");
        assert_eq!(cut("büro_mit_langem_namen", 18), "büro_mit_langem_n…");
    }

    #[test]
    fn a_rate_has_the_unit_that_fits() {
        for (bits, shown) in [
            (0, "0 bit/s"),
            (8_000, "8 kbit/s"),
            (800_000_000, "800 Mbit/s"),
            (1_500_000_000, "1.5 Gbit/s"),
        ] {
            assert_eq!(bit_rate(bits), shown);
        }
    }
}
