//! `v vm create`

use std::path::PathBuf;

use virshle_core::template::{UserData, UserSettings};
use virshle_core::{
    CoreError, CreateRequest, Node, Provision, StartOptions, Starter, Vm, VmInfo, VmName,
    VmSummary, caller_user_data, in_parallel, read_user_data,
};

use crate::action::outcome;
use crate::context::Context;
use crate::error::CliError;
use crate::progress::Progress;
use crate::report::ErrorDocument;
use crate::vm_table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The template
    #[arg(short, long, value_name = "TEMPLATE")]
    template: String,
    /// How many machines
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    count: u32,
    /// Call the machine NAME, or several NAME-1, NAME-2 … [default: a random name]
    #[arg(long)]
    name: Option<VmName>,
    /// Tell the guest at its first boot what FILE says: users, keys and packages in TOML, a
    /// #cloud-config, or a script; may be repeated [default: the template's user_data, else your own
    /// public keys, in ~/.ssh and in your agent]
    #[arg(long, value_name = "FILE")]
    user_data: Vec<PathBuf>,
    /// Tell the guest nothing, not even your public keys
    #[arg(long, conflicts_with = "user_data")]
    no_user_data: bool,
    /// Start them, too
    #[arg(long)]
    start: bool,
}

/// A machine that was made, as far as it was.
#[derive(serde::Serialize)]
struct Created {
    #[serde(flatten)]
    vm: Option<VmInfo>,
    /// The name of a machine that was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDocument>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node_with_templates()?;
    let made = make(&node, args, context)?;
    let total = made.len();
    let new: Vec<Vm> = match args.start {
        true => made.iter().flatten().cloned().collect(),
        false => Vec::new(),
    };
    let starter = Starter::new(&new, StartOptions::default());
    let begin = |made| match made {
        Ok(vm) if args.start => {
            let failed = starter.start(&vm).err();
            (Some(vm), failed)
        }
        Ok(vm) => (Some(vm), None),
        Err(error) => (None, Some(error)),
    };
    let results: Vec<(Option<Vm>, Option<CoreError>)> =
        if args.start { in_parallel(made, begin) } else { made.into_iter().map(begin).collect() };
    let (vms, errors): (Vec<Option<Vm>>, Vec<Option<CliError>>) =
        results.into_iter().map(|(vm, error)| (vm, error.map(CliError::from))).unzip();
    if context.output.json {
        let sightings = node.sightings();
        let created: Vec<Created> = vms
            .into_iter()
            .zip(&errors)
            .map(|(vm, error)| Created {
                name: match (&vm, error) {
                    (None, Some(CliError::Core(CoreError::Disk { vm, .. }))) => {
                        Some(vm.to_string())
                    }
                    _ => None,
                },
                vm: vm.map(|vm| vm.info_among(&sightings)),
                error: error.as_ref().map(ErrorDocument::new),
            })
            .collect();
        context.output.json(&created)?;
    } else if vms.iter().any(Option::is_some) {
        let paint = context.output.paint;
        let summaries: Vec<VmSummary> = vms.iter().flatten().map(Vm::summary).collect();
        let table = vm_table::of_summaries(&summaries, paint);
        context.output.table(&vm_table::heading(&node, paint), table);
    }
    let errors: Vec<CliError> = errors.into_iter().flatten().collect();
    if total > 1 {
        errors.iter().for_each(|error| context.report.draw_one_of_several(error));
    }
    outcome(errors, total, if args.start { "created and started" } else { "created" })
}

fn make(
    node: &Node,
    args: &Args,
    context: &Context,
) -> Result<Vec<Result<Vm, CoreError>>, CliError> {
    let mut request = CreateRequest::new(&args.template).count(args.count);
    if let Some(name) = &args.name {
        request = request.name(name.clone());
    }
    request = request.provision(provision(args)?);
    let progress = Progress::new(context);
    let made = node.create(&request, &|copy| progress.show(&copy));
    progress.end();
    let made = made?;
    if let Some(Ok(vm)) = made.first()
        && is_locked_to_all(node, vm, args)
    {
        context.output.note(
            "nobody will be let in by ssh: there is no public key of yours in ~/.ssh (ssh-keygen makes \
             one) or in an agent, and no --user-data",
        );
    }
    Ok(made)
}

/// Whether the machine is told of nobody who may enter it, without anybody having wished so.
fn is_locked_to_all(node: &Node, vm: &Vm, args: &Args) -> bool {
    let is_silent = args.user_data.is_empty() && !args.no_user_data;
    let names_none = node.config().template(&args.template).is_ok_and(|t| t.user_data.is_none());
    let has_seed = vm.definition().disks.iter().any(|disk| disk.clone == "seed");
    is_silent && names_none && has_seed && vm.ssh_user().is_none()
}

/// What the guest is told. Without a word about it, whoever makes the machine can enter it.
fn provision(args: &Args) -> Result<Provision, CoreError> {
    if args.no_user_data {
        return Ok(Provision::Nothing);
    }
    if args.user_data.is_empty() {
        // Also who has no key wants his guest to know its name, and not to look for a cloud.
        let nobody = || UserData::Settings(UserSettings::default());
        return Ok(Provision::TemplateOr(caller_user_data().unwrap_or_else(nobody)));
    }
    let read: Result<Vec<_>, _> = args.user_data.iter().map(|path| read_user_data(path)).collect();
    read.map(Provision::With)
}
