//! What every command is given: the global options, and where results and errors go.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use virshle_core::Node;
use virshle_core::template::{Config, Systemd, TemplateError};

use crate::error::CliError;
use crate::globals::Globals;
use crate::log_keeper::keeper;
use crate::output::Output;
use crate::own_path::own_path;
use crate::paint;
use crate::report::Report;

/// The environment variable that names the node's root.
const ROOT: &str = "VIRSHLE_ROOT";

/// The environment variable that names the configuration.
const CONFIG: &str = "VIRSHLE_CONFIG";

/// The environment variable that says which systemd supervises the machines, as [node] systemd does.
const SYSTEMD: &str = "VIRSHLE_SYSTEMD";

/// The path in an environment variable, unless it is unset or empty.
fn path_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(Into::into)
}

/// The node's root, if the environment names one.
pub(crate) fn root() -> Option<PathBuf> {
    path_in(ROOT)
}

/// The node, by the configuration at `config` or in the usual places: without one, all defaults.
///
/// # Errors
///
/// If there is a configuration, and it is invalid or can't be read.
pub(crate) fn open(config: Option<&Path>, root: Option<&Path>) -> Result<Node, TemplateError> {
    let config = match load(config) {
        Err(TemplateError::NoFile { .. }) => supervised(Config::default()),
        other => other?,
    };
    Ok(node_of(config, root))
}

fn node_of(config: Config, root: Option<&Path>) -> Node {
    let node = Node::new(config, root);
    node.keep_logs_by(keeper());
    node
}

fn load(config: Option<&Path>) -> Result<Config, TemplateError> {
    Ok(supervised(Config::load(&Config::locate(config)?)?))
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    config: Option<PathBuf>,
    root: Option<PathBuf>,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    /// Builds the definition of the whole command line: for completions and the manual.
    pub(crate) command_line: fn() -> clap::Command,
    /// Where results go.
    pub(crate) output: Output,
    /// Where errors go.
    pub(crate) report: Report,
}

impl Context {
    pub(crate) fn new(
        globals: Globals,
        report: Report,
        command_line: fn() -> clap::Command,
    ) -> Self {
        Self {
            command_line,
            config: globals.config,
            root: globals.root.or_else(root),
            verbose: globals.verbose,
            output: Output::new(globals.json, globals.quiet, paint::stdout(globals.color)),
            report,
        }
    }

    /// The node, for a command that needs no template: without a configuration, all defaults.
    ///
    /// # Errors
    ///
    /// If there is a configuration, and it is invalid or can't be read.
    pub(crate) fn node(&self) -> Result<Node, CliError> {
        Ok(open(self.config.as_deref(), self.root.as_deref())?)
    }

    /// The node, for a command that needs a template.
    ///
    /// # Errors
    ///
    /// If there is no configuration, or it is invalid or can't be read.
    pub(crate) fn node_with_templates(&self) -> Result<Node, CliError> {
        Ok(node_of(load(self.config.as_deref())?, self.root.as_deref()))
    }

    /// The node at `root` with the configuration `config`, each if given: for machines that systemd calls.
    ///
    /// # Errors
    ///
    /// As [`Context::node`].
    pub(crate) fn node_at(
        &self,
        root: Option<&Path>,
        config: Option<&Path>,
    ) -> Result<Node, CliError> {
        Ok(open(config.or(self.config.as_deref()), root.or(self.root.as_deref()))?)
    }

    /// The path of the configuration that this command reads.
    ///
    /// # Errors
    ///
    /// If none exists in any of the usual places.
    pub(crate) fn config_path(&self) -> Result<PathBuf, CliError> {
        Ok(Config::locate(self.config.as_deref())?)
    }

    /// Refuses `--json` for a command that has no result but text.
    ///
    /// # Errors
    ///
    /// [`CliError::TextOnly`].
    pub(crate) fn text_only(&self, command: &'static str) -> Result<(), CliError> {
        if self.output.json { Err(CliError::TextOnly { command }) } else { Ok(()) }
    }

    /// The command line that runs this program on the same node, from any directory.
    ///
    /// # Errors
    ///
    /// If a path is given that can't be made absolute.
    pub(crate) fn own_command(&self) -> Result<Vec<OsString>, CliError> {
        let mut arguments = vec![own_path().into_os_string()];
        let config = self.config.clone().or_else(|| path_in(CONFIG));
        for (option, path) in [("--config", &config), ("--root", &self.root)] {
            if let Some(path) = path {
                let absolute = std::path::absolute(path)
                    .map_err(|source| CliError::Path { path: path.clone(), source })?;
                arguments.extend([option.into(), absolute.into_os_string()]);
            }
        }
        Ok(arguments)
    }
}

/// The configuration with the systemd that the environment names, if it names one.
fn supervised(mut config: Config) -> Config {
    if let Some(systemd) = path_in(SYSTEMD) {
        config.node.systemd = match systemd.to_str() {
            Some("auto") => Systemd::Auto,
            Some("off") => Systemd::Off,
            _ => Systemd::Socket(systemd),
        };
    }
    config
}
