//! `v template show`: shows a template, defaults included.

use virshle_core::LimitsDefinition;
use virshle_core::template::{Boot, DiskTemplate, NetTemplate, VmTemplate};

use super::keyword::{clone_mode, net_kind};
use crate::candidates;
use crate::context::Context;
use crate::error::CliError;
use crate::limits;
use crate::sheet::{Sheet, rates, trunk};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Show this template
    #[arg(add = candidates::templates())]
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node_with_templates()?;
    let template = node.config().template(&args.name)?;
    if context.output.json {
        return context.output.json(template);
    }
    context.output.text(&sheet(template, Sheet::new(context.output.paint)).draw());
    Ok(())
}

fn sheet(template: &VmTemplate, mut sheet: Sheet) -> Sheet {
    sheet.line("name", &template.name);
    let vcpus = template.vcpus;
    let up_to =
        if vcpus.max > vcpus.boot { format!(", up to {}", vcpus.max) } else { String::new() };
    sheet.line("vcpu", format!("{}{up_to}", vcpus.boot));
    let memory = template.memory;
    let up_to = memory.max.map(|max| format!(", up to {max}")).unwrap_or_default();
    let hugepages = if memory.hugepages { ", in hugepages" } else { "" };
    sheet.line("vram", format!("{}{up_to}{hugepages}", memory.size));
    match &template.boot {
        Boot::Firmware(path) => {
            let path = path.as_ref().map(|path| path.display().to_string());
            sheet.line("firmware", path.unwrap_or_else(|| "the node's".into()));
        }
        Boot::Kernel { kernel, initramfs, cmdline } => {
            sheet.line("kernel", kernel.display().to_string());
            sheet.maybe("initramfs", initramfs.as_ref().map(|path| path.display().to_string()));
            sheet.maybe("cmdline", cmdline.as_deref());
        }
    }
    sheet.line("autostart", if template.autostart { "yes" } else { "no" });
    sheet.maybe("order", template.order.map(|order| order.to_string()));
    sheet.maybe(
        "delay",
        (template.delay_seconds > 0).then(|| format!("{} s", template.delay_seconds)),
    );
    sheet.line("restart", template.restart.name());
    sheet.maybe("watchdog", template.watchdog.then_some("yes"));
    sheet.maybe("limits", limits::line(&LimitsDefinition::from(&template.limits)));
    sheet.maybe("nested", template.nested.then_some("yes"));
    for disk in &template.disks {
        sheet.line("disk", disk_line(disk));
    }
    for net in &template.nets {
        sheet.line("net", net_line(net));
    }
    sheet.maybe("user data", template.user_data.as_ref().map(|path| path.display().to_string()));
    sheet
}

fn disk_line(disk: &DiskTemplate) -> String {
    let mut line = disk.name.clone();
    let source = disk.source.as_ref().map(|path| path.display().to_string());
    let image = disk.image.as_ref().map(|image| format!("image {image}"));
    match source.or(image) {
        Some(source) => {
            line.push_str(&format!(", from {source} ({})", clone_mode(disk.clone)));
        }
        None => line.push_str(", empty"),
    }
    line.push_str(&disk.size.map(|size| format!(", {size}")).unwrap_or_default());
    line.push_str(if disk.readonly { ", read-only" } else { "" });
    line
}

fn net_line(net: &NetTemplate) -> String {
    let mut line = format!("{}, {}", net.name, net_kind(net.kind));
    line.push_str(&net.link.as_ref().map(|link| format!(" on {link}")).unwrap_or_default());
    line.push_str(&net.vlan.map(|vlan| format!(", vlan {vlan}")).unwrap_or_default());
    line.push_str(&trunk(&net.trunk));
    line.push_str(if net.trust { ", trusted" } else { "" });
    line.push_str(&net.mtu.map(|mtu| format!(", mtu {mtu}")).unwrap_or_default());
    line.push_str(&rates(net.rate_in, net.rate_out));
    line.push_str(&net.queues.map(|queues| format!(", {queues} queues")).unwrap_or_default());
    line.push_str(&net.mac.as_ref().map(|mac| format!(", mac {mac}")).unwrap_or_default());
    for address in &net.addresses {
        line.push_str(&format!(", {address}"));
    }
    line
}
