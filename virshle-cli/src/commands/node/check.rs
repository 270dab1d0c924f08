//! `v node check`: checks the host's requirements, and removes orphaned resources.

use serde::Serialize;
use virshle_core::{Finding, Level, MachineError, Node, Orphan};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint;
use crate::remedy;
use crate::report::ErrorDocument;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Remove orphaned resources
    ///
    /// Processes, ports, directories and sockets that belong to no running machine
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

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let check = node.check()?;
    let (orphans, repaired) = if args.repair {
        (Vec::new(), repair(&node, check.orphans))
    } else {
        (check.orphans, Vec::new())
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
        })?;
    } else {
        show_findings(context, &check.findings);
        show_orphans(context, &orphans);
    }
    let failed = show_repaired(context, &repaired);
    let missing = check.findings.iter().filter(|finding| finding.level == Level::Missing).count();
    if failed > 0 {
        Err(CliError::Orphans { failed, total: repaired.len() })
    } else if missing > 0 {
        Err(CliError::Lacking { count: missing })
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
