//! systemd-networkd as a reader of what cloud-init writes for it: the real one, in namespaces of its own.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cloud_init_reader::Rendered;

/// What is done there.
const SCRIPT: &str = include_str!("networkd.sh");

/// Returns the routes, as `ip route` prints them, that systemd-networkd makes of its `files`, once there is
/// a default route of each family, or after a minute; each of `interfaces` is a name and a MAC address.
///
/// # Errors
///
/// If it can't be run: its output is in the error.
pub fn networkd_routes(files: &Rendered, interfaces: &[(&str, &str)]) -> io::Result<String> {
    let directory = tempfile::tempdir()?;
    for (path, text) in files {
        let name = Path::new(path).file_name().unwrap_or_default();
        fs::write(directory.path().join(name), text)?;
    }
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", SCRIPT, "bash"])
        .arg(directory.path())
        .args(interfaces.iter().map(|(name, mac)| format!("{name}={mac}")))
        .stdin(Stdio::null())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    Err(io::Error::other(format!("{printed}{}", String::from_utf8_lossy(&output.stderr))))
}

/// Whether this host has it.
pub(crate) fn is_here() -> bool {
    Path::new("/lib/systemd/systemd-networkd").exists()
}
