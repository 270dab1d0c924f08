//! `v vm info`: shows details of a machine.

use virshle_core::template::{BitRate, ByteSize};
use virshle_core::{Address, DiskInfo, NetInfo, RestartInfo, Usage, UserNetInfo, VmInfo};

use crate::context::Context;
use crate::error::CliError;
use crate::limits;
use crate::machines::Machine;
use crate::paint;
use crate::sheet::{Sheet, rates, trunk};
use crate::vm_table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let vm = args.machine.find(&context.node()?)?;
    vm.bound_logs();
    let info = vm.info();
    if context.output.json {
        return context.output.json(&info);
    }
    context.output.text(&sheet(&info, Sheet::new(context.output.paint)).draw());
    Ok(())
}

fn sheet(info: &VmInfo, mut sheet: Sheet) -> Sheet {
    sheet.line("id", info.id.to_string());
    sheet.styled("name", info.name.as_str(), paint::STRONG);
    sheet.line("uuid", info.uuid.to_string());
    sheet.styled("state", info.state.word(), vm_table::style(info.state));
    sheet.maybe("pid", info.pid.map(|pid| pid.to_string()));
    sheet.maybe("last exit", info.last_exit.map(virshle_core::LastExit::word));
    sheet.line("template", &info.template);
    sheet.line("created", info.created.to_string());
    sheet.line("vcpu", info.vcpu.to_string());
    sheet.line("vram", ByteSize::from_bytes(info.vram).to_string());
    sheet.line("autostart", autostart_line(info));
    sheet.line("restart", restart_line(&info.restart));
    sheet.maybe("not restarted", info.restart.held_back.as_deref());
    sheet.maybe("watchdog", info.watchdog.then(|| watchdog_line(&info.restart)));
    sheet.maybe("limits", limits::line(&info.limits));
    sheet.maybe("usage", info.usage.as_ref().map(usage_line));
    sheet.maybe("nested", info.nested.then_some("yes"));
    sheet.line("directory", info.dir.display().to_string());
    for disk in &info.disks {
        sheet.line("disk", disk_line(disk));
    }
    for net in &info.nets {
        sheet.line("net", net_line(net));
        if let Some(user) = &net.user {
            user_lines(net, user, &mut sheet);
        }
        for publish in &net.publish {
            sheet.line("publish", format!("{}, {publish}", net.name));
        }
        for address in &net.addresses {
            sheet.line("address", address_line(net, address));
        }
    }
    sheet
}

fn autostart_line(info: &VmInfo) -> String {
    let mut line = if info.autostart { "yes" } else { "no" }.to_owned();
    line.push_str(&info.order.map(|order| format!(", order {order}")).unwrap_or_default());
    if info.delay > 0 {
        line.push_str(&format!(", those of later places {} s after it", info.delay));
    }
    line
}

fn watchdog_line(restart: &RestartInfo) -> String {
    match restart.watchdog_resets {
        0 => "yes".to_owned(),
        1 => "yes; it has reset the guest once".to_owned(),
        times => format!("yes; it has reset the guest {times} times"),
    }
}

fn restart_line(restart: &RestartInfo) -> String {
    let mut line = restart.policy.to_owned();
    if restart.attempts > 0 || restart.next.is_some() {
        line.push_str(&format!(", {} of {} in a row", restart.attempts, restart.max_attempts));
    }
    line.push_str(&restart.next.map(|next| format!(", next at {next}")).unwrap_or_default());
    line
}

fn usage_line(usage: &Usage) -> String {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let parts = [
        usage.cpu_usec.map(|time| format!("cpu {}.{:03} s", time / 1_000_000, time / 1000 % 1000)),
        usage.memory.map(|bytes| {
            let most = usage.memory_max.map(|most| format!(" of {}", mib(most)));
            format!("memory {}{}", mib(bytes), most.unwrap_or_default())
        }),
        usage.io_read.map(|bytes| format!("read {}", mib(bytes))),
        usage.io_written.map(|bytes| format!("written {}", mib(bytes))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn disk_line(disk: &DiskInfo) -> String {
    let mut line = format!("{}, {}, {}", disk.name, disk.format, ByteSize::from_bytes(disk.size));
    match &disk.source {
        Some(source) => line.push_str(&format!(", {} of {}", disk.clone, source.display())),
        None => line.push_str(&format!(", {}", disk.clone)),
    }
    line.push_str(if disk.readonly { ", read-only" } else { "" });
    line
}

fn net_line(net: &NetInfo) -> String {
    let mut line = match &net.user {
        Some(_) => format!("{}, {}, user network", net.name, net.mac),
        None => format!("{}, {}, port {} on {}", net.name, net.mac, net.port, net.bridge),
    };
    line.push_str(&net.vlan.map(|vlan| format!(", vlan {vlan}")).unwrap_or_default());
    line.push_str(&trunk(&net.trunk));
    line.push_str(if net.trust { ", trusted" } else { "" });
    line.push_str(&net.mtu.map(|mtu| format!(", mtu {mtu}")).unwrap_or_default());
    let rate = |bits: Option<u64>| bits.map(BitRate::from_bits);
    line.push_str(&rates(rate(net.rate_in), rate(net.rate_out)));
    if net.queues > 1 {
        line.push_str(&format!(", {} queues", net.queues));
    }
    line
}

/// What a user network does for its guest, and where the host reaches it.
fn user_lines(net: &NetInfo, user: &UserNetInfo, sheet: &mut Sheet) {
    let dns: Vec<String> = user.dns.iter().map(ToString::to_string).collect();
    let dns = if dns.is_empty() { "no dns".to_owned() } else { format!("dns {}", dns.join(", ")) };
    let loopback = if user.host_loopback { ", which is the host's loopback" } else { "" };
    sheet.line("gateway", format!("{}, {}{loopback}, {dns}", net.name, user.gateway));
    sheet.maybe("ssh", user.ssh.map(|ssh| format!("{}, {ssh}", net.name)));
}

fn address_line(net: &NetInfo, address: &Address) -> String {
    format!("{}, {address}, {}", net.name, address.source)
}
