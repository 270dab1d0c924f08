//! `v net trace`: shows what the switch would do with a packet.

use std::net::IpAddr;

use clap::ValueEnum;
use virshle_core::net::MacAddr;
use virshle_core::{NetTrace, TraceEnd, TraceProtocol, TraceRequest, TraceVerdict};

use crate::candidates;
use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Who sends it: a machine, MACHINE/NET for one of its interfaces, or `host`
    #[arg(add = candidates::names())]
    from: String,
    /// Who is to get it: a machine, `host`, or a MAC or IP address; TO:PORT is a TCP connection
    #[arg(value_name = "TO[:PORT]", add = candidates::names())]
    to: String,
    /// What is in the packet; TCP if there is a port, else a ping if both have an address
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,
    /// Send it as another machine would, with this MAC or IP address as its sender: does the guard
    /// stop it?
    #[arg(long, value_name = "ADDRESS", value_parser = forged)]
    forge: Vec<Forged>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    Ping,
    Arp,
}

#[derive(Clone, Copy, Debug)]
enum Forged {
    Mac(MacAddr),
    Ip(IpAddr),
}

fn forged(text: &str) -> Result<Forged, String> {
    let mac = text.parse().map(Forged::Mac).ok();
    mac.or_else(|| text.parse().map(Forged::Ip).ok())
        .ok_or_else(|| "neither a MAC nor an IP address".into())
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let protocol = match args.protocol {
        None => TraceProtocol::Auto,
        Some(Protocol::Tcp) => TraceProtocol::Tcp,
        Some(Protocol::Udp) => TraceProtocol::Udp,
        Some(Protocol::Ping) => TraceProtocol::Ping,
        Some(Protocol::Arp) => TraceProtocol::Arp,
    };
    let mut request = TraceRequest::new(&args.from, &args.to).protocol(protocol);
    for forged in &args.forge {
        request = match forged {
            Forged::Mac(mac) => request.forged_mac(*mac),
            Forged::Ip(ip) => request.forged_ip(*ip),
        };
    }
    let trace = context.node()?.trace(&request)?;
    if context.output.json {
        return context.output.json(&trace);
    }
    show(&trace, context);
    Ok(())
}

fn show(trace: &NetTrace, context: &Context) {
    let output = &context.output;
    let paint = output.paint;
    let name = |end: &TraceEnd| escape(&end.name).into_owned();
    let (from, to) = (name(&trace.from), name(&trace.to));
    output.line(&format!(
        "{} -> {}: {}",
        paint.paint(paint::STRONG, &from),
        paint.paint(paint::STRONG, &to),
        escape(&trace.packet)
    ));
    for end in [&trace.from, &trace.to] {
        let port = match (&end.port, &end.vlans) {
            (Some(port), Some(vlans)) => format!(", port {port}, {vlans}"),
            (Some(port), None) => format!(", port {port}"),
            (None, _) => ", of no known port".into(),
        };
        output.line(&escape(&format!("  {}: {}{port}", end.name, end.mac)));
    }
    for step in &trace.steps {
        output.line(&format!("  {}", escape(step)));
    }
    for exit in &trace.exits {
        let machine = match exit.machine.as_deref() {
            Some("host") => " (this host)".into(),
            Some(machine) => format!(" (machine {machine})"),
            None => String::new(),
        };
        let tag = exit.tag.map(|tag| format!(", tagged {tag}")).unwrap_or_default();
        output.line(&escape(&format!("  leaves by {}{machine}{tag}", exit.port)));
    }
    let (style, verdict) = match trace.verdict {
        TraceVerdict::Delivered => (paint::GOOD, format!("{to} gets it")),
        TraceVerdict::Flooded => (paint::GOOD, format!("{to} gets it, and so do others")),
        TraceVerdict::Elsewhere if trace.to.port.is_none() => {
            (paint::WARNING, "it leaves by the ports above".into())
        }
        TraceVerdict::Elsewhere => (paint::ERROR, format!("{to} does not get it")),
        _ => (paint::ERROR, format!("{to} does not get it: it is dropped")),
    };
    output.line(&paint.paint(style, &verdict));
}
