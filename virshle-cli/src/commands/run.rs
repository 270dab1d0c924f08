//! `v run`: creates a machine, starts it, and opens a session in it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use virshle_core::template::{ByteSize, TemplateError, UserData, VmTemplate};
use virshle_core::{
    CreateRequest, Force, ImageChoice, Node, Provision, StartOptions, Vm, VmName, VmSummary,
    read_user_data,
};

use crate::action::start;
use crate::candidates;
use crate::commands::image::pull::pull;
use crate::commands::template::check::warnings;
use crate::commands::vm::{reap, ssh};
use crate::context::Context;
use crate::error::CliError;
use crate::progress::Progress;
use crate::{timeout, vm_table};

/// How long a guest gets for its first boot unless told otherwise.
const TIMEOUT: &str = "5m";
/// How long a guest whose ssh server answers may refuse the caller: its user is created meanwhile.
const LOGIN_PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait between two attempts to log in.
const LOGIN_PAUSE: Duration = Duration::from_secs(1);

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Run this image, or a machine of this template
    ///
    /// A template of the configuration; else an image in the cache, an image to pull such as debian or
    /// ubuntu:24.04, or the path of an image's file
    #[arg(value_name = "IMAGE|TEMPLATE", add = candidates::runnable())]
    image: String,
    /// Name the machine NAME [default: a random name]
    #[arg(long)]
    name: Option<VmName>,
    /// Give an image the size of this template, or xs, s, m or l
    ///
    /// A template of the configuration with the image in place of its first disk's. Without one of that
    /// name: xs has 1 vCPU and 2 GiB, s 2 and 4 GiB, m 4 and 8 GiB, l 8 and 16 GiB [default: xs]
    #[arg(short = 't', long = "template", visible_short_alias = 's', visible_alias = "size", value_name = "SIZE", add = candidates::templates())]
    size: Option<String>,
    /// Give the machine's first disk this size
    #[arg(long, value_name = "SIZE")]
    disk: Option<ByteSize>,
    /// Provide FILE as cloud-init user data; may be repeated
    #[arg(short, long, value_name = "FILE")]
    user_data: Vec<PathBuf>,
    /// Remove the machine at the end, however it comes
    ///
    /// Also after a failure, after Ctrl-C, and if this command is killed. Its power is cut
    #[arg(long, conflicts_with = "detach")]
    rm: bool,
    /// Only start the machine
    #[arg(short, long)]
    detach: bool,
    /// Wait at most TIME for the ssh server to answer
    #[arg(long, value_name = "TIME", default_value = TIMEOUT, value_parser = timeout::parse)]
    timeout: Duration,
    /// The command to run instead of a shell; its exit code is this command's
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    if !args.detach {
        context.text_only("v run")?;
    }
    let node = context.node()?;
    let template = template(&node, args)?;
    for reference in node.missing_images(&template)? {
        pull(&node, &reference, context)?;
    }
    // Before the machine, so that there is no moment at which it would be forgotten.
    let reaper = args.rm.then(|| reap::Reaper::start(context)).transpose()?;
    let vm = create(&node, template, args, context)?;
    if let Some(mut reaper) = reaper {
        reaper.watch(&vm)?;
        let result = started(&vm).and_then(|()| attended(&vm, args, context));
        let removed = vm.remove(Force::Yes);
        reaper.end();
        let code = result?;
        removed?;
        return if code == 0 { Ok(()) } else { Err(CliError::Exited { code }) };
    }
    if args.detach {
        start(context, std::slice::from_ref(&vm), &StartOptions::default())?;
        if !context.output.json {
            let table = vm_table::of_summaries(&[vm.summary()], context.output.paint);
            context.output.table(&vm_table::heading(&node, context.output.paint), table);
        }
        return Ok(());
    }
    started(&vm)?;
    let VmSummary { name, .. } = vm.summary();
    context.output.note(&format!(
        "{name} runs; `v ssh {name}` opens another session, `v rm --force {name}` removes it"
    ));
    let mut session = session(&vm, args, context)?;
    // This process becomes ssh: signals, terminal and exit code are ssh's own.
    Err(CliError::Ssh { source: session.exec() })
}

fn started(vm: &Vm) -> Result<(), CliError> {
    Ok(vm.start(&StartOptions::default()).map(drop)?)
}

/// The template of that name; or one for that image.
fn template(node: &Node, args: &Args) -> Result<VmTemplate, CliError> {
    let size = args.size.as_deref();
    let is_path = args.image.contains('/') || args.image.starts_with('.');
    if !is_path && size.is_none() {
        match node.config().template(&args.image) {
            Ok(template) => return sized(template.clone(), args.disk),
            Err(TemplateError::NotFound { .. }) => {}
            // One that is wrong is what was meant.
            Err(error) => return Err(error.into()),
        }
    }
    let image = if is_path {
        let path = PathBuf::from(&args.image);
        let path = std::path::absolute(&path).map_err(|source| CliError::Path { path, source })?;
        ImageChoice::File(path)
    } else {
        let reference = args.image.parse().map_err(|source| {
            virshle_core::ImageError::ImageName { name: args.image.clone(), source }
        })?;
        node.knows_image(&reference)?;
        ImageChoice::Reference(reference)
    };
    Ok(node.template_of_image(&image, size, args.disk)?)
}

fn sized(mut template: VmTemplate, size: Option<ByteSize>) -> Result<VmTemplate, CliError> {
    if let Some((disk, size)) = template.disks.first_mut().zip(size) {
        disk.size = Some(size);
    }
    Ok(template)
}

fn create(
    node: &Node,
    template: VmTemplate,
    args: &Args,
    context: &Context,
) -> Result<Vm, CliError> {
    warnings(&template).iter().for_each(|warning| context.report.warn(&warning.to_string()));
    let data: Result<Vec<UserData>, _> =
        args.user_data.iter().map(|path| read_user_data(path)).collect();
    let provision = match data? {
        none if none.is_empty() => Provision::TemplateOr(node.caller_access()?),
        data => Provision::With(data),
    };
    let mut request = CreateRequest::of(template).provision(provision);
    if let Some(name) = &args.name {
        request = request.name(name.clone());
    }
    let progress = Progress::new(context);
    let created = node.create(&request, &|copy| progress.show(&copy));
    progress.end();
    let created = created?.pop().ok_or(CliError::NoneNamed)?;
    Ok(created.result?)
}

/// The session, once the guest lets the caller in.
fn session(vm: &Vm, args: &Args, context: &Context) -> Result<Command, CliError> {
    let began = Instant::now();
    let own = context.own_command()?;
    ssh::await_answer(vm, args.timeout, context)?;
    let patience = LOGIN_PATIENCE.min(args.timeout.saturating_sub(began.elapsed()));
    await_login(vm, &own, patience)?;
    let options: &[OsString] = match args.command.is_empty() {
        true => &[],
        // As with ssh itself: a command has a terminal only if it is asked for.
        false => &["-T".into()],
    };
    ssh::command(vm, &own, options, args.command.clone())
}

/// Waits until the guest lets the caller in: cloud-init may still be creating their user.
fn await_login(vm: &Vm, own: &[OsString], patience: Duration) -> Result<(), CliError> {
    let until = Instant::now() + patience;
    let quiet = ["-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-T", "-n"].map(OsString::from);
    loop {
        let mut probe = ssh::command(vm, own, &quiet, vec!["true".into()])?;
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = probe.status().map_err(|source| CliError::Ssh { source })?;
        // 255 is ssh's own; whatever else a guest answers, it let the caller in.
        if status.code() != Some(255) || Instant::now() >= until {
            return Ok(());
        }
        std::thread::sleep(LOGIN_PAUSE);
    }
}

/// Runs the session beside this process, which outlives it: its exit code.
fn attended(vm: &Vm, args: &Args, context: &Context) -> Result<u8, CliError> {
    let mut session = session(vm, args, context)?;
    // They are for ssh, which gets them as well; its end is the session's, and the machine goes then.
    let arrived = Arc::new(AtomicBool::new(false));
    for signal in [Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP] {
        if let Err(error) = signal_hook::flag::register(signal.as_raw(), Arc::clone(&arrived)) {
            tracing::debug!(%error, "a signal ends this process");
        }
    }
    let failed = |source| CliError::Ssh { source };
    let mut child = session.spawn().map_err(failed)?;
    let status = loop {
        match child.wait() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other.map_err(failed)?,
        }
    };
    // As a shell reports a command that a signal ended.
    let by_signal =
        || std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    let code = status.code().or_else(by_signal).unwrap_or(1);
    let interrupted = arrived.load(Ordering::Relaxed) && code == 255;
    let code = if interrupted { 130 } else { code };
    Ok(u8::try_from(code).unwrap_or(1))
}
