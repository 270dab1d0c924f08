//! What every command is given: the words that hold for all, and the places to write to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use virshle_core::Node;
use virshle_core::template::{Config, TemplateError};

use crate::cli::Globals;
use crate::error::CliError;
use crate::output::Output;
use crate::own_path::own_path;
use crate::paint;
use crate::report::Report;

/// The environment variable that names the node's root.
const ROOT: &str = "VIRSHLE_ROOT";

/// The environment variable that names the configuration.
const CONFIG: &str = "VIRSHLE_CONFIG";

/// The path that an environment variable names, if it does.
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|path| !path.is_empty()).map(Into::into)
}

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    config: Option<PathBuf>,
    root: Option<PathBuf>,
    /// How often `-v` was said.
    pub(crate) verbose: u8,
    /// Where results go.
    pub(crate) output: Output,
    /// Where errors go.
    pub(crate) report: Report,
}

impl Context {
    pub(crate) fn new(globals: Globals, report: Report) -> Self {
        Self {
            config: globals.config,
            root: globals.root.or_else(|| named(ROOT)),
            verbose: globals.verbose,
            output: Output::new(globals.json, globals.quiet, paint::stdout(globals.color)),
            report,
        }
    }

    /// The node, for a command that needs no template: without a configuration, all defaults.
    ///
    /// # Errors
    ///
    /// If there is a configuration, and it is wrong or can't be read.
    pub(crate) fn node(&self) -> Result<Node, CliError> {
        let config = match self.config() {
            Err(TemplateError::NoFile { .. }) => Config::default(),
            other => other?,
        };
        Ok(self.node_of(config))
    }

    /// The node, for a command that needs a template.
    ///
    /// # Errors
    ///
    /// If there is no configuration, or it is wrong or can't be read.
    pub(crate) fn node_with_templates(&self) -> Result<Node, CliError> {
        Ok(self.node_of(self.config()?))
    }

    /// The configuration's file: `explicit`, or the one that this command reads.
    ///
    /// # Errors
    ///
    /// If none is in any of the usual places.
    pub(crate) fn config_path(&self, explicit: Option<&Path>) -> Result<PathBuf, CliError> {
        Ok(Config::locate(explicit.or(self.config.as_deref()))?)
    }

    /// The words by which this program is run on the same node, from anywhere.
    ///
    /// # Errors
    ///
    /// If a path is given that can't be made absolute.
    pub(crate) fn own_command(&self) -> Result<Vec<OsString>, CliError> {
        let mut words = vec![own_path().into_os_string()];
        let config = self.config.clone().or_else(|| named(CONFIG));
        for (option, path) in [("--config", &config), ("--root", &self.root)] {
            if let Some(path) = path {
                let absolute = std::path::absolute(path)
                    .map_err(|source| CliError::Path { path: path.clone(), source })?;
                words.extend([option.into(), absolute.into_os_string()]);
            }
        }
        Ok(words)
    }

    fn config(&self) -> Result<Config, TemplateError> {
        Config::load(&Config::locate(self.config.as_deref())?)
    }

    fn node_of(&self, config: Config) -> Node {
        Node::new(config, self.root.as_deref())
    }
}
