//! `v node check`: checks the host's requirements, removes orphaned resources, and reconnects
//! machines.

use serde::Serialize;
use virshle_core::{
    Disconnected, Finding, Level, MachineError, Node, NodeCheck, Orphan, Remedy, Restored,
};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint;
use crate::remedy;
use crate::report::ErrorDocument;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Remove orphaned resources, restore the managed network, and reconnect machines
    ///
    /// Removes processes, ports, directories and sockets that belong to no running machine; sets up again
    /// what is missing of the managed network, if it was there before; gives a running machine whose port
    /// was deleted a new one, while it runs on
    #[arg(long)]
    repair: bool,
}

/// The findings and repairs, as JSON.
#[derive(Serialize)]
struct Checked<'a> {
    findings: Vec<Found<'a>>,
    /// Orphaned resources that were left.
    orphans: &'a [Orphan],
    /// Orphaned resources that were removed, or could not be.
    repaired: Vec<Repaired<'a>>,
    /// Running machines whose network is not as it is defined.
    disconnected: &'a [Disconnected],
    /// Those that have it back, or could not be given it.
    reconnected: Vec<Reconnected<'a>>,
    /// What of the managed network was missing, and is there again.
    restored: &'a [Restored],
}

/// A finding, as JSON.
#[derive(Serialize)]
struct Found<'a> {
    subject: &'a str,
    level: Level,
    message: &'a str,
    /// The suggested fix.
    remedy: Option<String>,
    /// The same, under the name that it had first.
    mend: Option<String>,
}

impl<'a> From<&'a Finding> for Found<'a> {
    fn from(finding: &'a Finding) -> Self {
        let remedy = finding.remedy.as_ref().map(remedy::wording);
        let Finding { subject, level, message, .. } = finding;
        Self { subject, level: *level, message, mend: remedy.clone(), remedy }
    }
}

#[derive(Serialize)]
struct Repaired<'a> {
    #[serde(flatten)]
    orphan: &'a Orphan,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDocument>,
}

#[derive(Serialize)]
struct Reconnected<'a> {
    #[serde(flatten)]
    machine: &'a Disconnected,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDocument>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    // Before anything is looked at: without the bridge's address much else is amiss.
    let restored = if args.repair { restore(&node, context) } else { Vec::new() };
    let check = node.check()?;
    let NodeCheck { findings, orphans, disconnected, .. } = check;
    let (orphans, repaired, disconnected, reconnected) = if args.repair {
        let repaired = repair(&node, orphans);
        (Vec::new(), repaired, Vec::new(), reconnect(&node, disconnected))
    } else {
        (orphans, Vec::new(), disconnected, Vec::new())
    };
    if context.output.json {
        context.output.json(&Checked {
            findings: findings.iter().map(Found::from).collect(),
            orphans: &orphans,
            repaired: repaired
                .iter()
                .map(|(orphan, error)| Repaired {
                    orphan,
                    error: error.as_ref().map(ErrorDocument::new),
                })
                .collect(),
            disconnected: &disconnected,
            reconnected: reconnected
                .iter()
                .map(|(machine, error)| Reconnected {
                    machine,
                    error: error.as_ref().map(ErrorDocument::new),
                })
                .collect(),
            restored: &restored,
        })?;
    } else {
        show_findings(context, &findings);
        show_disconnected(context, &disconnected);
        show_orphans(context, &orphans);
        show_setup(context, &findings);
    }
    let failed = show_repaired(context, &repaired);
    let still = show_reconnected(context, &reconnected);
    let missing = findings.iter().filter(|finding| finding.level == Level::Missing).count();
    let missing = missing + disconnected.len() + still;
    if failed > 0 {
        Err(CliError::Orphans { failed, total: repaired.len() })
    } else if missing > 0 {
        Err(CliError::Lacking { count: missing })
    } else {
        Ok(())
    }
}

/// Sets up again what of the managed network is missing. Why it can't be is a finding of the check.
fn restore(node: &Node, context: &Context) -> Vec<Restored> {
    match node.restore_network() {
        Ok(restored) => {
            for part in restored.iter().filter(|_| !context.output.json) {
                context.output.done(&format!("restored {}", escape(&part.what)));
            }
            restored
        }
        Err(error) => {
            context.report.draw_one_of_several(&error.into());
            Vec::new()
        }
    }
}

fn repair(node: &Node, orphans: Vec<Orphan>) -> Vec<(Orphan, Option<CliError>)> {
    let with_error = |(orphan, result): (Orphan, Result<(), MachineError>)| {
        (orphan, result.err().map(CliError::from))
    };
    node.repair(orphans).into_iter().map(with_error).collect()
}

fn reconnect(node: &Node, machines: Vec<Disconnected>) -> Vec<(Disconnected, Option<CliError>)> {
    let results = node.reconnect(machines).into_iter();
    results.map(|(machine, result)| (machine, result.err().map(CliError::from))).collect()
}

fn show_findings(context: &Context, findings: &[Finding]) {
    let paint = context.output.paint;
    let width = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0);
    for finding in findings {
        let (mark, style) = match finding.level {
            Level::Good => ("✓", paint::GOOD),
            Level::Warning => ("!", paint::WARNING),
            _ => ("✗", paint::ERROR),
        };
        let mark = paint.paint(style, mark);
        let (subject, message) = (escape(&finding.subject), escape(&finding.message));
        context.output.line(&format!("{mark} {subject:width$}  {message}"));
        if let Some(fix) = finding.remedy.as_ref().map(remedy::wording) {
            let fix = paint.paint(paint::HINT, &escape(&fix));
            context.output.line(&format!("  {:width$}  {fix}", ""));
        }
    }
}

/// Names the command that brings what no distribution has, if some of it is missing.
fn show_setup(context: &Context, findings: &[Finding]) {
    if findings.iter().any(|finding| finding.remedy == Some(Remedy::SetUpHost)) {
        context.output.line(
            "\n`v node setup` downloads cloud-hypervisor and its firmware, and prints the commands \
             for the rest.",
        );
    }
}

fn show_orphans(context: &Context, orphans: &[Orphan]) {
    if orphans.is_empty() {
        return;
    }
    context.output.line("\norphaned resources (`v node check --repair` removes them):");
    for orphan in orphans {
        context.output.line(&format!("  {}", escape(&orphan.to_string())));
    }
}

fn show_disconnected(context: &Context, machines: &[Disconnected]) {
    if machines.is_empty() {
        return;
    }
    context.output.line(
        "\nrunning machines without their network (`v node check --repair` reconnects them):",
    );
    for machine in machines {
        context.output.line(&format!("  {}", escape(&machine.to_string())));
    }
}

/// Prints which machines have their network back; returns how many have not.
fn show_reconnected(context: &Context, reconnected: &[(Disconnected, Option<CliError>)]) -> usize {
    for (machine, error) in reconnected {
        match error {
            Some(error) => context.report.draw_one_of_several(error),
            None if context.output.json => {}
            None => context.output.done(&format!("reconnected {}", escape(&machine.to_string()))),
        }
    }
    reconnected.iter().filter(|(_, error)| error.is_some()).count()
}

/// Prints what was removed; returns how many resources could not be.
fn show_repaired(context: &Context, repaired: &[(Orphan, Option<CliError>)]) -> usize {
    for (orphan, error) in repaired {
        match error {
            Some(error) => context.report.draw_one_of_several(error),
            None if context.output.json => {}
            None => context.output.done(&format!("removed {}", escape(&orphan.to_string()))),
        }
    }
    repaired.iter().filter(|(_, error)| error.is_some()).count()
}
