//! `v template ls`: lists the templates.

use std::collections::BTreeSet;

use anstyle::Style;
use virshle_core::template::{DiskTemplate, NetTemplate, VmTemplate};

use super::keyword::net_kind;
use crate::context::Context;
use crate::error::CliError;
use crate::table::Table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node_with_templates()?;
    let config = node.config();
    let templates: Vec<&VmTemplate> = config.templates().collect();
    if context.output.json {
        context.output.json(&templates)?;
    } else {
        let mut table = Table::new(context.output.paint, ["name", "vcpu", "vram", "disks", "nets"]);
        for template in templates {
            let cells = [
                template.name.clone(),
                template.vcpus.boot.to_string(),
                template.memory.size.to_string(),
                template.disks.iter().map(disk).collect::<Vec<_>>().join(", "),
                template.nets.iter().map(net).collect::<Vec<_>>().join(", "),
            ];
            table.row(cells.map(|cell| (cell, Style::new())));
        }
        context.output.table("", table);
    }
    let invalid: BTreeSet<&str> =
        config.mistakes().iter().filter_map(|mistake| mistake.template.as_deref()).collect();
    for name in invalid {
        context.report.warn(&format!("template {name:?} is invalid; `v template check` shows why"));
    }
    Ok(())
}

fn disk(disk: &DiskTemplate) -> String {
    match disk.size {
        Some(size) => format!("{} {size}", disk.name),
        None => disk.name.clone(),
    }
}

fn net(net: &NetTemplate) -> String {
    format!("{} {}", net.name, net_kind(net.kind))
}
