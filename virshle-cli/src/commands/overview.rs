//! `v` alone: shows where one stands, and what to do next.

use std::path::PathBuf;

use serde::Serialize;
use virshle_core::{
    InitMode, InitOutcome, Machines, Node, NodeInfo, Selection, VmState, VmSummary,
};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint;
use crate::sheet::Sheet;

/// How many names are listed; there may be a thousand.
const NAMES: usize = 6;

/// Where one stands, as JSON.
#[derive(Serialize)]
struct Overview {
    alias: String,
    host: String,
    root: PathBuf,
    config: Option<PathBuf>,
    templates: Vec<String>,
    bridge: Bridge,
    /// How many images the cache has.
    images: usize,
    machines: Machines,
    /// What to do next, most urgent first.
    next: Vec<Step>,
}

/// The bridge that the machines' ports are on.
#[derive(Serialize)]
struct Bridge {
    name: String,
    state: BridgeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum BridgeState {
    /// It exists.
    Ready,
    /// It, its link to the uplink, or a directory of the node does not exist.
    Missing,
    /// Open vSwitch gives no answer.
    Unreachable,
}

/// A command, and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Step {
    command: String,
    purpose: String,
}

pub(crate) fn run(context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let overview = overview(&node, node.info()?)?;
    if context.output.json {
        return context.output.json(&overview);
    }
    context.output.text(&sheet(&overview, Sheet::new(context.output.paint)).draw());
    let width = overview.next.iter().map(|step| step.command.chars().count()).max().unwrap_or(0);
    context.output.line(&format!("\n{}", context.output.paint.paint(paint::STRONG, "Next:")));
    for Step { command, purpose } in &overview.next {
        let command =
            context.output.paint.paint(paint::HINT, &escape(&format!("{command:width$}")));
        context.output.line(&format!("  {command}  {}", escape(purpose)));
    }
    Ok(())
}

fn overview(node: &Node, info: NodeInfo) -> Result<Overview, CliError> {
    let bridge = Bridge { name: node.config().network.bridge.clone(), state: bridge_state(node) };
    let templates: Vec<String> = node.config().templates().map(|one| one.name.clone()).collect();
    let vms = node.list(&Selection::all())?.vms;
    // One that was not found is but a name; one that is not to be believed is for the check to explain.
    let has_program = node.hypervisor_program().map_or(true, |program| program.is_absolute());
    let next = next(has_program, info.config.is_some(), bridge.state, &templates, &vms);
    Ok(Overview {
        alias: info.alias,
        host: info.host,
        root: info.root,
        config: info.config,
        templates,
        bridge,
        // A cache that can't be read is for `v image ls` to explain.
        images: node.images().map_or(0, |listing| listing.images.len()),
        machines: info.machines,
        next,
    })
}

/// Whether `v node init` would create anything.
fn bridge_state(node: &Node) -> BridgeState {
    match node.init(InitMode::DryRun) {
        Ok(steps) if steps.iter().all(|step| step.outcome == InitOutcome::There) => {
            BridgeState::Ready
        }
        Ok(_) => BridgeState::Missing,
        Err(_) => BridgeState::Unreachable,
    }
}

/// What to do next, most urgent first.
fn next(
    has_program: bool,
    has_config: bool,
    bridge: BridgeState,
    templates: &[String],
    vms: &[VmSummary],
) -> Vec<Step> {
    let step = |command: String, purpose: &str| Step { command, purpose: purpose.into() };
    let mut steps = Vec::new();
    if !has_program {
        steps.push(step("v node setup".into(), "download cloud-hypervisor and its firmware"));
    }
    if !has_config || bridge == BridgeState::Unreachable {
        steps.push(step("v node check".into(), "list what this host lacks, each with its fix"));
    } else if bridge == BridgeState::Missing {
        steps.push(step("v node init".into(), "create the node's directories and bridge"));
    }
    let first = |state| vms.iter().find(|vm| vm.state == state).map(|vm| &vm.name);
    if let Some(name) = first(VmState::Running) {
        steps.push(step(format!("v vm ssh {name}"), "open a session in a machine"));
    } else if let Some(name) = first(VmState::Paused) {
        steps.push(step(format!("v vm resume {name}"), "resume a paused machine"));
    } else if let Some(name) = first(VmState::Stopped) {
        steps.push(step(format!("v vm start {name}"), "start a machine"));
    }
    if vms.is_empty() {
        steps.push(match templates.first() {
            Some(template) => {
                step(format!("v vm create -t {template} --start"), "create a machine and start it")
            }
            None => step("v run debian".into(), "run a machine of Debian's image"),
        });
    }
    if !vms.is_empty() {
        steps.push(step("v vm ls".into(), "list machines"));
    }
    steps.push(step("v --help".into(), "list all commands"));
    steps
}

fn sheet(overview: &Overview, mut sheet: Sheet) -> Sheet {
    let Overview { alias, host, root, config, templates, bridge, images, machines, .. } = overview;
    sheet.styled("node", format!("{alias} on {host}"), paint::ALIAS);
    sheet.line("root", root.display().to_string());
    let path = config.as_ref().map(|path| path.display().to_string());
    sheet.line("configuration", path.unwrap_or_else(|| "none".into()));
    sheet.line("templates", names(templates));
    let (state, style) = match bridge.state {
        BridgeState::Ready => ("ready", paint::GOOD),
        BridgeState::Missing => ("not set up", paint::WARNING),
        BridgeState::Unreachable => ("Open vSwitch cannot be reached", paint::WARNING),
    };
    sheet.styled("bridge", format!("{}, {state}", bridge.name), style);
    sheet.line("images", if *images == 0 { "none".into() } else { images.to_string() });
    sheet.line("machines", machines_line(*machines));
    sheet
}

fn names(names: &[String]) -> String {
    let shown = names.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "none".into(),
        count if count > NAMES => format!("{shown} and {} more", count - NAMES),
        _ => shown,
    }
}

/// How many machines are in which state.
pub(crate) fn machines_line(machines: Machines) -> String {
    let states = [
        ("running", machines.running),
        ("paused", machines.paused),
        ("created", machines.created),
        ("unresponsive", machines.unresponsive),
        ("stopped", machines.stopped),
    ];
    let states = states.into_iter().filter(|(_, count)| *count > 0);
    let states: Vec<String> = states.map(|(state, count)| format!("{count} {state}")).collect();
    match machines.total {
        0 => "none".into(),
        total => format!("{total}: {}", states.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(has_config: bool, bridge: BridgeState, templates: &[&str]) -> Vec<String> {
        let templates: Vec<String> = templates.iter().map(ToString::to_string).collect();
        let steps = next(true, has_config, bridge, &templates, &[]);
        steps.into_iter().map(|step| step.command).collect()
    }

    #[test]
    fn what_is_missing_first_comes_first() {
        use BridgeState::{Missing, Ready, Unreachable};
        assert_eq!(commands(false, Missing, &[]), ["v node check", "v run debian", "v --help"]);
        assert_eq!(commands(true, Unreachable, &[]), ["v node check", "v run debian", "v --help"]);
        let steps = next(false, false, Unreachable, &[], &[]);
        assert_eq!(steps[0].command, "v node setup");
        assert_eq!(
            commands(true, Missing, &["xs", "s"]),
            ["v node init", "v vm create -t xs --start", "v --help"]
        );
        assert_eq!(commands(true, Ready, &["xs"]), ["v vm create -t xs --start", "v --help"]);
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let templates: Vec<String> = (0..9).map(|number| format!("t{number}")).collect();
        assert_eq!(names(&templates), "t0, t1, t2, t3, t4, t5 and 3 more");
        assert_eq!(names(&templates[..2]), "t0, t1");
        assert_eq!(names(&[]), "none");
    }
}
