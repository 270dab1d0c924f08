//! Finds a program as a shell does.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The path of the program `name`: the first of that name in `PATH` that this user may run. A name with
/// a slash is a path already.
pub fn find_program(name: &Path) -> Option<PathBuf> {
    if name.components().count() != 1 || name.is_absolute() {
        return std::path::absolute(name).ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter_map(|directory| std::path::absolute(directory.join(name)).ok())
        .find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
}
