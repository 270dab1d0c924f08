//! `v node setup`: brings what no distribution has, and prints the commands for the rest.

use std::path::PathBuf;

use serde::Serialize;
use virshle_core::{
    InitMode, Packages, Part, Pins, Setup, SetupOutcome, SetupPlace, SetupRequest, SetupStep,
};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint;
use crate::progress::Progress;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Print what would be downloaded, from where and with which checksum, and download nothing
    #[arg(long)]
    dry_run: bool,
    /// Take the files from DIR instead of downloading them
    ///
    /// Under the names that they are published under: --dry-run prints the addresses
    #[arg(long, value_name = "DIR")]
    offline: Option<PathBuf>,
    /// Install for all users, into /usr/local
    ///
    /// Without it the files are installed into the node's own directory, which needs no root where the
    /// node is an ordinary user's
    #[arg(long)]
    system: bool,
    /// Install the releases that FILE lists instead of those that this version was tried with
    ///
    /// FILE is TOML, a table [[file]] for each: part ("cloud-hypervisor" or "firmware"), version, url,
    /// sha256
    #[arg(long, value_name = "FILE")]
    releases: Option<PathBuf>,
}

/// What was done, as JSON.
#[derive(Serialize)]
struct Document<'a> {
    parts: &'a [SetupStep],
    packages: &'a Packages,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let mode = if args.dry_run { InitMode::DryRun } else { InitMode::Apply };
    let place = if args.system { SetupPlace::System } else { SetupPlace::Node };
    let mut request = SetupRequest::new(mode).place(place);
    if let Some(directory) = &args.offline {
        request = request.offline(directory);
    }
    if let Some(path) = &args.releases {
        request = request.pins(pins(path)?);
    }
    let progress = Progress::new(context);
    let setup = context.node()?.setup(&request, &mut |part: Part, step| {
        progress.show_fetch(part.name(), &step);
    });
    progress.end();
    let setup = setup?;
    if context.output.json {
        let Setup { steps, packages, .. } = &setup;
        return context.output.json(&Document { parts: steps, packages });
    }
    setup.steps.iter().for_each(|step| show(step, context));
    show_packages(&setup.packages, context);
    Ok(())
}

fn pins(path: &std::path::Path) -> Result<Pins, CliError> {
    let failed = |source| CliError::File { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    text.parse().map_err(|source| CliError::Releases { path: path.to_owned(), source })
}

fn show(step: &SetupStep, context: &Context) {
    let SetupStep { part, version, path, source, sha256, outcome, .. } = step;
    let name = if version.is_empty() { (*part).to_owned() } else { format!("{part} {version}") };
    let path = path.display();
    let line = match outcome {
        SetupOutcome::Installed => format!("installed {name}: {path}"),
        SetupOutcome::Would => format!("would install {name}: {path}"),
        _ => format!("{name} is there already: {path}"),
    };
    context.output.done(&escape(&line));
    if let (SetupOutcome::Would, Some(source), Some(sha256)) = (outcome, source, sha256) {
        context.output.done(&escape(&format!("  from    {source}")));
        context.output.done(&format!("  sha256  {sha256}"));
    }
}

/// The commands for what the distribution has.
fn show_packages(packages: &Packages, context: &Context) {
    let output = &context.output;
    if !packages.missing.is_empty() {
        let (missing, name) = (packages.missing.join(", "), escape(&packages.distribution));
        let lacks = format!("\nThis host lacks {missing}.");
        match packages.commands.is_empty() {
            true => output.line(&lacks),
            false => output.line(&format!("{lacks} On {name}, as root:")),
        }
        for command in &packages.commands {
            output.line(&format!("  {}", output.paint.paint(paint::HINT, &escape(command))));
        }
        for note in &packages.notes {
            output.line(&format!("  {}", escape(note)));
        }
    }
    output.line(&format!(
        "\n{} shows what else this host needs.",
        output.paint.paint(paint::HINT, "v node check")
    ));
}
