//! By which way a client of ssh came to a machine whose key it is about to see for the first time.
//!
//! The connection is made by one child of the client (its `ProxyCommand`), the key is looked at by
//! another (its `KnownHostsCommand`): the first leaves a note for the second, named by the client.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::fs::file::{Sync, create_directory, read_untrusted, remove_if_there, write_new};
use crate::guest::stream::Route;
use crate::machine::vm::Vm;
use crate::store::layout;

/// What the names of the notes begin with.
const NOTE: &str = "contact-";
/// The longest note.
const MAX_NOTE: u64 = 256;
/// How long a note is of use, and is kept: until a key has been exchanged.
const KEPT: Duration = Duration::from_secs(600);
const VSOCK: &str = "vsock";

/// The way by which a client came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contact {
    /// Over the machine's own vsock, or by a port that its own passt has.
    Vsock,
    /// Over a network, at this address.
    Network(String),
}

/// Leaves a note that the connection which the process `client` asked for goes by `route`.
pub(crate) fn note(vm: &Vm, client: u32, route: &Route) -> io::Result<()> {
    let path = path(vm, client)?;
    if let Some(directory) = path.parent() {
        if !directory.is_dir() {
            create_directory(directory, 0o750)?;
        }
        sweep(directory);
    }
    let text = match route {
        // Nothing but its own passt has that port.
        Route::Vsock | Route::Published(_) => VSOCK.to_owned(),
        Route::Network(address) => format!("{address} ({})", address.source),
    };
    remove_if_there(&path)?;
    write_new(&path, text.as_bytes(), Sync::No).map_err(io::Error::other)
}

/// By which way `client` came; none if it isn't known. The note is of use once.
pub(crate) fn of(vm: &Vm, client: u32) -> Option<Contact> {
    let path = path(vm, client).ok()?;
    let bytes = read_untrusted(&path, MAX_NOTE).ok()?;
    // One that can't be removed is swept later.
    drop(remove_if_there(&path));
    let text = String::from_utf8(bytes).ok()?;
    Some(if text == VSOCK { Contact::Vsock } else { Contact::Network(text) })
}

/// Where the note for `client` is: its name tells it from another process of its number.
fn path(vm: &Vm, client: u32) -> io::Result<PathBuf> {
    let stat = fs::read_to_string(format!("/proc/{client}/stat"))?;
    // The name of the program may have anything in it, but is the last in parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // starttime of proc_pid_stat(5) is the 22nd, state behind the name the 3rd.
    let started = fields.split_ascii_whitespace().nth(19).and_then(|text| text.parse::<u64>().ok());
    let started = started.ok_or(io::ErrorKind::InvalidData)?;
    Ok(layout::temporary(vm.directory()).join(format!("{NOTE}{client}-{started}")))
}

/// Removes the notes that nobody came for.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let is_note = entry.file_name().to_string_lossy().starts_with(NOTE);
        let age = || {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok()?;
            SystemTime::now().duration_since(modified).ok()
        };
        if is_note && age().is_some_and(|age| age > KEPT) {
            drop(fs::remove_file(entry.path()));
        }
    }
}
