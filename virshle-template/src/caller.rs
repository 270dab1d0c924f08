//! Who is calling, and where his files are.

use std::path::PathBuf;

/// Tells whether the caller is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The folder that `variable` names, or `fallback` in the home directory (XDG Base Directory
/// Specification: relative values are to be ignored).
pub(crate) fn xdg_folder(variable: &str, fallback: &str) -> PathBuf {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(fallback))
}
