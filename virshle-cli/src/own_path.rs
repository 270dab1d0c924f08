//! The path of this program, for those who have to run it again.

use std::env;
use std::fs;
use std::path::PathBuf;

/// The path of this program, in `PATH` if it is found there: that path stays valid after an update,
/// which the path of the file behind it may not.
pub(crate) fn own_path() -> PathBuf {
    let Ok(own) = env::current_exe() else { return PathBuf::from("v") };
    let name = own.file_name().unwrap_or_default();
    let real = fs::canonicalize(&own).ok();
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join(name))
        .find(|path| path.is_absolute() && real.is_some() && fs::canonicalize(path).ok() == real)
        .unwrap_or(own)
}
