//! `v node check`: checks the host's requirements, and removes orphaned resources.

use serde::Serialize;
use virshle_core::{Finding, Level, LostNet, MachineError, Node, Orphan};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint;
use crate::remedy;
use crate::report::ErrorDocument;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Remove orphaned resources, and restore lost networks
    ///
    /// Processes, ports, directories and sockets that belong to no running machine are removed; a user
    /// network whose passt has ended gets another one
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
    /// Networks that running machines have lost.
    lost: &'a [LostNet],
    /// Lost networks that were restored, or could not be.
    restored: Vec<Restored<'a>>,
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
struct Restored<'a> {
    #[serde(flatten)]
    net: &'a LostNet,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDocument>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let check = node.check()?;
    let (orphans, repaired, lost, restored) = if args.repair {
        let repaired = repair(&node, check.orphans);
        (Vec::new(), repaired, Vec::new(), restore(&node, check.lost))
    } else {
        (check.orphans, Vec::new(), check.lost, Vec::new())
    };
    if context.output.json {
        context.output.json(&Checked {
            findings: check.findings.iter().map(Found::from).collect(),
            orphans: &orphans,
            repaired: repaired
                .iter()
                .map(|(orphan, error)| Repaired {
                    orphan,
                    error: error.as_ref().map(ErrorDocument::new),
                })
                .collect(),
            lost: &lost,
            restored: restored
                .iter()
                .map(|(net, error)| Restored { net, error: error.as_ref().map(ErrorDocument::new) })
                .collect(),
        })?;
    } else {
        show_findings(context, &check.findings);
        show_orphans(context, &orphans);
        show_lost(context, &lost);
    }
    let failed = show_repaired(context, &repaired) + show_restored(context, &restored);
    let missing = check.findings.iter().filter(|finding| finding.level == Level::Missing).count();
    if failed > 0 {
        Err(CliError::Orphans { failed, total: repaired.len() + restored.len() })
    } else if missing + lost.len() > 0 {
        Err(CliError::Lacking { count: missing + lost.len() })
    } else {
        Ok(())
    }
}

fn repair(node: &Node, orphans: Vec<Orphan>) -> Vec<(Orphan, Option<CliError>)> {
    let with_error = |(orphan, result): (Orphan, Result<(), MachineError>)| {
        (orphan, result.err().map(CliError::from))
    };
    node.repair(orphans).into_iter().map(with_error).collect()
}

fn restore(node: &Node, lost: Vec<LostNet>) -> Vec<(LostNet, Option<CliError>)> {
    let results = node.heal(lost).into_iter();
    results.map(|(lost, result)| (lost, result.err().map(CliError::from))).collect()
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

fn show_orphans(context: &Context, orphans: &[Orphan]) {
    if orphans.is_empty() {
        return;
    }
    context.output.line("\norphaned resources (`v node check --repair` removes them):");
    for orphan in orphans {
        context.output.line(&format!("  {}", escape(&orphan.to_string())));
    }
}

fn show_lost(context: &Context, lost: &[LostNet]) {
    if lost.is_empty() {
        return;
    }
    context.output.line("\nlost networks (`v node check --repair` restores them):");
    for net in lost {
        context.output.line(&format!("  {}", escape(&net.to_string())));
    }
}

/// Prints what was restored; returns how many networks could not be.
fn show_restored(context: &Context, restored: &[(LostNet, Option<CliError>)]) -> usize {
    for (net, error) in restored {
        match error {
            Some(error) => context.report.draw_one_of_several(error),
            None if context.output.json => {}
            None => context.output.done(&format!("restored {}", escape(&net.to_string()))),
        }
    }
    restored.iter().filter(|(_, error)| error.is_some()).count()
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
