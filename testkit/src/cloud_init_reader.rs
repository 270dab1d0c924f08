//! cloud-init as a reader of seeds: its own Python, asked what it makes of the files of one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::requirement::program;

/// What it is asked by.
const SCRIPT: &str = include_str!("cloud_init_read.py");
/// The Python that Debian's package is for; another one may come first in `PATH`.
const PYTHON: &str = "/usr/bin/python3";
/// Where Debian's package has it.
const INSTALLED: &str = "/usr/lib/python3/dist-packages";

/// The files that a renderer of cloud-init writes for a `network-config`: their paths and texts.
pub type Rendered = BTreeMap<String, String>;

/// A version of cloud-init that reads seeds. Nothing of this host is changed by it.
#[derive(Clone, Debug)]
pub struct CloudInitReader {
    packages: PathBuf,
}

impl CloudInitReader {
    /// The one that is installed.
    pub fn installed() -> Option<Self> {
        Self::of(Path::new(INSTALLED))
    }

    /// A current one, which `CLOUD_INIT_CURRENT` names.
    pub fn current() -> Option<Self> {
        Self::of(Path::new(&std::env::var_os("CLOUD_INIT_CURRENT")?))
    }

    /// Those of the two that are here.
    pub fn all() -> Vec<Self> {
        [Self::installed(), Self::current()].into_iter().flatten().collect()
    }

    fn of(packages: &Path) -> Option<Self> {
        let is_here = packages.join("cloudinit/net").is_dir()
            && Path::new(PYTHON).exists()
            && program("mcopy");
        is_here.then(|| Self { packages: packages.to_owned() })
    }

    /// The cloud-config that it puts together from each of `texts`, files `user-data`; null where it
    /// fails. What it can't read it leaves out.
    ///
    /// # Errors
    ///
    /// If it can't be run.
    pub fn configs(&self, texts: &[String]) -> io::Result<Vec<Value>> {
        let answer = self.ask(&json!({ "configs": texts }))?;
        Ok(answer["configs"].as_array().cloned().unwrap_or_default())
    }

    /// What each of its renderers writes for `text`, a file `network-config`.
    ///
    /// # Errors
    ///
    /// If it can't be run, or a renderer fails: its output is in the error.
    pub fn networks(&self, text: &str) -> io::Result<BTreeMap<String, Rendered>> {
        let answer = self.ask(&json!({ "network": text }))?;
        Ok(serde_json::from_value(answer["network"].clone())?)
    }

    /// The programs, with their arguments, that a guest of `distribution` runs for the accounts of the
    /// cloud-config `config`.
    ///
    /// # Errors
    ///
    /// If it can't be run, or refuses them.
    pub fn accounts(&self, distribution: &str, config: &Value) -> io::Result<Vec<Vec<String>>> {
        let answer = self.ask(&json!({ "accounts": [distribution, config] }))?;
        Ok(serde_json::from_value(answer["accounts"].clone())?)
    }

    fn ask(&self, request: &Value) -> io::Result<Value> {
        let mut child = Command::new(PYTHON)
            .args(["-c", SCRIPT])
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(request.to_string().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("{}: {words}", self.packages.display())));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// The text of the file `name` of the disk image `seed`.
///
/// # Errors
///
/// If there is none.
pub fn seed_file(seed: &Path, name: &str) -> io::Result<String> {
    let output = Command::new("mcopy")
        .args(["-n", "-i"])
        .arg(seed)
        .args([&format!("::{name}"), "-"])
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| io::Error::other(error.to_string()))
}
