//! `v vm create`: creates machines from a template.

use std::path::PathBuf;

use virshle_core::disk::CloneMethod;
use virshle_core::template::{UserData, UserSettings};
use virshle_core::{
    CreateRequest, Created, Node, Provision, ProvisionError, StartOptions, Vm, VmInfo, VmName,
    VmSummary, caller_user_data, read_user_data, start_many,
};

use crate::action;
use crate::candidates;
use crate::commands::image::pull::pull;
use crate::commands::template::check::warnings;
use crate::context::Context;
use crate::error::CliError;
use crate::progress::Progress;
use crate::report::ErrorDocument;
use crate::vm_table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Create them from this template
    #[arg(short, long, value_name = "TEMPLATE", add = candidates::templates())]
    template: String,
    /// Create COUNT machines
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    count: u32,
    /// Name the machine NAME [default: a random name]
    ///
    /// With --count, the machines are named NAME-1, NAME-2 …
    #[arg(long)]
    name: Option<VmName>,
    /// Provide FILE as cloud-init user data; may be repeated
    ///
    /// FILE is a #cloud-config, a script, or a list of users, keys and packages in TOML, and is applied
    /// at the first boot. Several are merged: lists one behind the other, and of a single value the
    /// first. Without this option it is the template's user_data, or else your public keys in ~/.ssh and
    /// in your ssh agent
    #[arg(short, long, value_name = "FILE")]
    user_data: Vec<PathBuf>,
    /// Provide no user data, not even your public keys
    #[arg(long, conflicts_with = "user_data")]
    no_user_data: bool,
    /// Start them as well
    #[arg(long)]
    start: bool,
}

/// The outcome of one creation, as JSON.
#[derive(serde::Serialize)]
struct Document {
    #[serde(flatten)]
    vm: Option<VmInfo>,
    /// The name of a machine that could not be created.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDocument>,
}

/// One of the machines that were asked for, as far as it was created and started.
struct Outcome {
    name: VmName,
    vm: Option<Vm>,
    error: Option<CliError>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node_with_templates()?;
    let mut outcomes: Vec<Outcome> = create(&node, args, context)?;
    if args.start {
        start(&mut outcomes);
    }
    if context.output.json {
        let addresses = node.host_addresses();
        let documents: Vec<Document> = outcomes
            .iter()
            .map(|outcome| Document {
                vm: outcome.vm.as_ref().map(|vm| vm.info_among(&addresses)),
                name: outcome.vm.is_none().then(|| outcome.name.to_string()),
                error: outcome.error.as_ref().map(ErrorDocument::new),
            })
            .collect();
        context.output.json(&documents)?;
    } else if outcomes.iter().any(|outcome| outcome.vm.is_some()) {
        let paint = context.output.paint;
        let vms = outcomes.iter().filter_map(|outcome| outcome.vm.as_ref());
        let summaries: Vec<VmSummary> = vms.map(Vm::summary).collect();
        let table = vm_table::of_summaries(&summaries, paint);
        context.output.table(&vm_table::heading(&node, paint), table);
    }
    let total = outcomes.len();
    let errors: Vec<CliError> = outcomes.into_iter().filter_map(|outcome| outcome.error).collect();
    if total > 1 {
        errors.iter().for_each(|error| context.report.draw_one_of_several(error));
    }
    let done = if args.start { "created and started" } else { "created" };
    action::outcome(errors, total, done, context.output.json)
}

/// Starts those that were created.
fn start(outcomes: &mut [Outcome]) {
    let vms: Vec<Vm> = outcomes.iter().filter_map(|outcome| outcome.vm.clone()).collect();
    let errors = start_many(&vms, &StartOptions::default(), |_, result| result.err());
    let created = outcomes.iter_mut().filter(|outcome| outcome.vm.is_some());
    for (outcome, error) in created.zip(errors) {
        outcome.error = error.map(CliError::from);
    }
}

fn create(node: &Node, args: &Args, context: &Context) -> Result<Vec<Outcome>, CliError> {
    let mut request = CreateRequest::new(&args.template).count(args.count);
    if let Some(name) = &args.name {
        request = request.name(name.clone());
    }
    request = request.provision(provision(args)?);
    pull_missing(node, &args.template, context)?;
    let progress = Progress::new(context);
    let created = node.create(&request, &|copy| progress.show(&copy));
    progress.end();
    let created = created?;
    if let Ok(template) = node.config().template(&args.template) {
        if !context.output.json {
            warnings(template).iter().for_each(|warning| context.report.warn(&warning.to_string()));
        }
    }
    let outcomes: Vec<Outcome> = created
        .into_iter()
        .map(|Created { name, result, .. }| match result {
            Ok(vm) => Outcome { name, vm: Some(vm), error: None },
            Err(error) => Outcome { name, vm: None, error: Some(error.into()) },
        })
        .collect();
    if let Some(Outcome { vm: Some(vm), .. }) = outcomes.first() {
        if is_inaccessible(node, vm, args) {
            context.output.note(
            "no ssh access will be possible: no public key found in ~/.ssh (ssh-keygen creates one) or in \
             the ssh agent, and no --user-data given",
        );
        }
    }
    Ok(outcomes)
}

/// Pulls the images of a template that are not in the cache, and that the catalogue has.
fn pull_missing(node: &Node, template: &str, context: &Context) -> Result<(), CliError> {
    // One that isn't there is the creation's to report.
    let Ok(template) = node.config().template(template) else { return Ok(()) };
    for reference in node.missing_images(template)? {
        pull(node, &reference, context)?;
    }
    Ok(())
}

/// Whether no user can log in to the machine, though nothing on the command line or in the template
/// asked for that.
fn is_inaccessible(node: &Node, vm: &Vm, args: &Args) -> bool {
    let is_default = args.user_data.is_empty() && !args.no_user_data;
    let names_none = node.config().template(&args.template).is_ok_and(|t| t.user_data.is_none());
    let has_seed = vm.definition().disks.iter().any(|disk| disk.clone == CloneMethod::Seed);
    is_default && names_none && has_seed && vm.ssh_user().is_none()
}

/// The user data of the machines. By default, the caller can log in to them.
fn provision(args: &Args) -> Result<Provision, ProvisionError> {
    if args.no_user_data {
        return Ok(Provision::Nothing);
    }
    if args.user_data.is_empty() {
        // Without a key, too, the guest gets its name from the seed, and does not look for a cloud.
        let no_keys = || UserData::Settings(UserSettings::default());
        return Ok(Provision::TemplateOr(caller_user_data().unwrap_or_else(no_keys)));
    }
    let read: Result<Vec<_>, _> = args.user_data.iter().map(|path| read_user_data(path)).collect();
    read.map(Provision::With)
}
