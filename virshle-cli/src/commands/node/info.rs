//! `v node info`: shows the node's location, capacity and machine counts.

use virshle_core::NodeInfo;
use virshle_core::template::ByteSize;

use crate::commands::overview::machines_line;
use crate::context::Context;
use crate::error::CliError;
use crate::paint;
use crate::sheet::Sheet;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Result<(), CliError> {
    let info = context.node()?.info()?;
    if context.output.json {
        return context.output.json(&info);
    }
    context.output.text(&sheet(&info, Sheet::new(context.output.paint)).draw());
    Ok(())
}

fn sheet(info: &NodeInfo, mut sheet: Sheet) -> Sheet {
    sheet.styled("alias", &info.alias, paint::ALIAS);
    sheet.styled("host", &info.host, paint::HOST);
    sheet.line("root", info.root.display().to_string());
    let config = info.config.as_ref().map(|path| path.display().to_string());
    sheet.line("configuration", config.unwrap_or_else(|| "none".into()));
    sheet.line("version", info.version);
    sheet.line("cpus", info.cpus.to_string());
    sheet.line("memory", of(info.memory_available, info.memory));
    sheet.maybe("disk", info.disk_available.map(|bytes| format!("{} available", rounded(bytes))));
    sheet.line("machines", machines_line(info.machines));
    sheet.line(
        "in use",
        format!("{} vcpus, {}", info.vcpus_running, ByteSize::from_bytes(info.memory_running)),
    );
    sheet
}

fn of(available: u64, total: u64) -> String {
    format!("{} of {} available", rounded(available), rounded(total))
}

/// A measured amount, rounded down to a tenth of its unit.
fn rounded(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_down_to_a_tenth() {
        assert_eq!(rounded(0), "0.0 B");
        assert_eq!(rounded((3 << 30) / 2), "1.5 GiB");
        assert_eq!(rounded(u64::MAX), "16383.9 PiB");
    }
}
