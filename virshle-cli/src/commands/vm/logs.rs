//! `v vm logs`: prints the logs of machines.

use std::io::{self, IsTerminal, stdout};
use std::path::PathBuf;

use serde::Serialize;
use virshle_core::hypervisor::KEPT_LOG_CUT;
use virshle_core::{LOG_CUT, Vm};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::follow::{Directories, Growing, Woken};
use crate::machines::Machines;
use crate::terminal_text::TerminalText;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    log: Log,
    /// Keep printing what is appended, until interrupted
    #[arg(short, long, conflicts_with = "json")]
    follow: bool,
    /// Print only the last LINES lines of each log
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
    #[command(flatten)]
    machines: Machines,
}

// The log to print. (clap would take a doc comment for the command's help.)
#[derive(clap::Args, Clone, Copy, Debug)]
#[group(multiple = false)]
struct Log {
    /// Print the guest's output on its serial console (default)
    #[arg(long)]
    serial: bool,
    /// Print the log of cloud-hypervisor
    #[arg(long)]
    vmm: bool,
    /// Print the events of cloud-hypervisor
    #[arg(long)]
    events: bool,
}

impl Log {
    fn name(self) -> &'static str {
        match self {
            Self { vmm: true, .. } => "vmm",
            Self { events: true, .. } => "events",
            _ => "serial",
        }
    }

    fn path(self, vm: &Vm) -> PathBuf {
        match self {
            Self { vmm: true, .. } => vm.vmm_log(),
            Self { events: true, .. } => vm.events(),
            _ => vm.serial_log(),
        }
    }
}

impl Log {
    /// What it is cut by.
    fn cut(self) -> u64 {
        if self.vmm || self.events { KEPT_LOG_CUT } else { LOG_CUT }
    }
}

/// The most of a log that a document holds, in bytes: more than a log has that is bounded.
const MOST: u64 = 64 << 20;

/// A log as JSON.
#[derive(Serialize)]
struct Document {
    id: u64,
    name: String,
    uuid: String,
    /// Which log.
    log: &'static str,
    path: PathBuf,
    /// Its contents; null if there is no log yet.
    text: Option<String>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let selection = args.machines.selection()?;
    let vms = context.node()?.select(&selection)?;
    if vms.is_empty() {
        context.output.note("no machine matches");
    }
    if context.output.json {
        return document(&vms, args.log, args.tail, context);
    }
    let mut directories = None;
    if args.follow {
        // Before the first read: nothing that is written from now on is missed.
        directories = Some(watch(&vms).map_err(|source| CliError::Follow { source })?);
    }
    vms.iter().for_each(Vm::bound_logs);
    let shown = |vm| Shown::new(vm, args.log, args.tail);
    let mut logs = vms.iter().map(shown).collect::<Result<Vec<_>, _>>()?;
    let several = logs.len() > 1;
    let mut printer = Printer { context, last: None, several, is_open: true };
    for (index, log) in logs.iter_mut().enumerate() {
        let any = printer.print(index, log)?;
        if !any && !args.follow && args.tail != Some(0) {
            let others = ["--serial", "--vmm", "--events"]
                .into_iter()
                .filter(|other| !other.ends_with(args.log.name()))
                .collect::<Vec<_>>()
                .join(" or ");
            let name = escape(&log.name).into_owned();
            context
                .output
                .note(&format!("the {} log of {name} is empty; try {others}", args.log.name()));
        }
    }
    let Some(mut directories) = directories else { return Ok(()) };
    loop {
        match directories.wait().map_err(|source| CliError::Follow { source })? {
            Woken::Changed | Woken::Readable(_) => {}
            Woken::Gone | Woken::Unread => return Ok(()),
        }
        for (index, log) in logs.iter_mut().enumerate() {
            printer.print(index, log)?;
        }
        vms.iter().for_each(Vm::bound_logs);
        if !printer.is_open {
            return Ok(());
        }
    }
}

fn watch(vms: &[Vm]) -> std::io::Result<Directories> {
    let mut directories = Directories::new()?;
    for vm in vms {
        directories.watch(vm.directory())?;
    }
    Ok(directories)
}

fn document(vms: &[Vm], log: Log, tail: Option<usize>, context: &Context) -> Result<(), CliError> {
    let mut documents = Vec::new();
    for vm in vms {
        let path = log.path(vm);
        let text = match end(path.clone(), tail) {
            Ok(bytes) => bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            Err(source) => return Err(CliError::Log { path, source }),
        };
        documents.push(Document {
            id: vm.id(),
            name: vm.name().to_string(),
            uuid: vm.uuid().to_string(),
            log: log.name(),
            path,
            text,
        });
    }
    context.output.json(&documents)
}

/// The log at `path`, from its last lines if they are all that is asked for.
fn growing(path: PathBuf, tail: Option<usize>) -> io::Result<Growing> {
    match tail {
        Some(lines) => Growing::from_last_lines(path, lines),
        None => Ok(Growing::new(path)),
    }
}

/// The end of a log, if there is one, in one piece: a guest, or its VMM, decides how long it is.
fn end(path: PathBuf, tail: Option<usize>) -> io::Result<Option<Vec<u8>>> {
    if path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let mut log = match tail {
        Some(_) => growing(path, tail)?,
        None => Growing::from_end(path, MOST)?.0,
    };
    let mut bytes = Vec::new();
    log.read_new(|piece| {
        bytes.extend_from_slice(piece);
        bytes.len() as u64 <= MOST
    })?;
    Ok(Some(bytes))
}

/// A log, and how much of it was printed.
struct Shown {
    name: String,
    file: Growing,
    /// Removes control sequences, for a terminal.
    filter: Option<TerminalText>,
}

impl Shown {
    fn new(vm: &Vm, log: Log, tail: Option<usize>) -> Result<Self, CliError> {
        let path = log.path(vm);
        let failed = |source| CliError::Log { path: path.clone(), source };
        Ok(Self {
            name: vm.name().to_string(),
            file: growing(path.clone(), tail).map_err(failed)?.cut_by(log.cut()),
            filter: stdout().is_terminal().then(TerminalText::default),
        })
    }
}

/// Prints logs, each below its machine's name.
struct Printer<'a> {
    context: &'a Context,
    last: Option<usize>,
    several: bool,
    /// Whether the standard output can still be written to.
    is_open: bool,
}

impl Printer<'_> {
    /// Prints what is new in a log. Returns whether there was anything.
    fn print(&mut self, index: usize, log: &mut Shown) -> Result<bool, CliError> {
        let output = &self.context.output;
        let mut any = false;
        let path = log.file.path().to_owned();
        let Shown { name, file, filter } = log;
        let result = file.read_new(|piece| {
            any = true;
            if self.several && self.last != Some(index) {
                let gap = if self.last.is_some() { "\n" } else { "" };
                output.text(&format!("{gap}==> {} <==\n", escape(name)));
                self.last = Some(index);
            }
            self.is_open = match filter {
                Some(filter) => output.bytes(&filter.filter(piece)),
                None => output.bytes(piece),
            };
            self.is_open
        });
        result.map_err(|source| CliError::Log { path, source })?;
        Ok(any)
    }
}
