//! A home directory for each test: configuration, root, and nothing of the host's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Templates that need nothing but a directory: `bare` has no disk, `disk` has two.
const CONFIG: &str = r#"
[node]
alias = "deku"

[network]
ovsdb = "unix:HOME/no-ovsdb.sock"

[hypervisor]
program = "HOME/no-cloud-hypervisor"

[[template.vm]]
name = "bare"
vcpu = 1
vram = "512MiB"

[[template.vm]]
name = "disk"
vcpu = { boot = 2, max = 4 }
vram = 2
autostart = true

[[template.vm.disk]]
name = "os"
path = "image.raw"
size = "2M"

[[template.vm.disk]]
name = "data"
size = "1M"

[[template.vm]]
name = "short"
vcpu = 1
vram = 1

[[template.vm.disk]]
name = "os"
path = "image.raw"
size = "4K"

[[template.vm]]
name = "gone"
vcpu = 1
vram = 1

[[template.vm.disk]]
name = "os"
path = "no-such-image.raw"
"#;

/// A home with a configuration, in a temporary directory.
pub(crate) struct Home {
    directory: TempDir,
}

/// The outcome of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { directory: TempDir::new().unwrap() };
        std::fs::write(home.path("image.raw"), vec![7; 1 << 20]).unwrap();
        home.write_config(CONFIG);
        home
    }

    /// A path in the home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// Writes another configuration. `HOME` in it is the home.
    pub(crate) fn write_config(&self, text: &str) {
        let home = self.directory.path().display().to_string();
        std::fs::write(self.config(), text.replace("HOME", &home)).unwrap();
    }

    /// `v` with these arguments, the home's configuration and root.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command(arguments);
        command.env("VIRSHLE_CONFIG", self.config()).env("VIRSHLE_ROOT", self.root());
        // The host's own is none of a test's business.
        command.env("VIRSHLE_SYSTEMD", "off");
        command
    }

    /// `v` with these arguments, and an environment without Virshle's variables.
    pub(crate) fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_v"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .env("XDG_CONFIG_HOME", self.path("xdg-config"))
            .env("XDG_DATA_HOME", self.path("xdg-data"))
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `v` with these arguments, separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Ran {
        ran(&mut self.command(&arguments.split(' ').collect::<Vec<_>>()))
    }

    /// The same, and it has to succeed. Returns its standard output.
    pub(crate) fn ok(&self, arguments: &str) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "v {arguments}: {ran:?}");
        ran.stdout
    }

    /// The same with `--json`: one document, and nothing else.
    pub(crate) fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{arguments} --json"))).unwrap()
    }
}

impl Home {
    /// The document that `v` prints with these arguments, however it ends.
    pub(crate) fn json_of_any(&self, arguments: &str) -> Value {
        let ran = self.run(&format!("{arguments} --json"));
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// Asserts the exit code, that nothing is on stdout, and that stderr has each of `texts`.
    #[track_caller]
    pub(crate) fn fails_with(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in {self:#?}");
        }
    }

    /// The error on stderr, of a command with `--json`.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stderr).unwrap();
        let error = document["error"].clone();
        assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
        assert_eq!(error["exit"], self.code, "{error}");
        error
    }
}

/// The number of machines below a root, complete or not.
pub(crate) fn machines_below(root: &Path) -> usize {
    std::fs::read_dir(root.join("vm")).map_or(0, Iterator::count)
}
