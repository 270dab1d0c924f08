//! Where the configuration file is looked for.

use std::path::{Path, PathBuf};

use crate::{Config, TemplateError, caller};

/// The environment variable that names the file.
const VARIABLE: &str = "VIRSHLE_CONFIG";
/// The file of the host.
const HOST: &str = "/etc/virshle/config.toml";

impl Config {
    /// Finds the configuration file: `explicit`, `$VIRSHLE_CONFIG`,
    /// `$XDG_CONFIG_HOME/virshle/config.toml` when the caller is not root, and
    /// `/etc/virshle/config.toml`. One that is named has to be there; of the others, the first
    /// that is there counts.
    ///
    /// # Errors
    ///
    /// [`TemplateError::NoFile`] with the places that were looked at.
    pub fn locate(explicit: Option<&Path>) -> Result<PathBuf, TemplateError> {
        let named = explicit
            .map(Path::to_owned)
            .or_else(|| std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(Into::into));
        if let Some(path) = named {
            return Ok(path);
        }
        let mut places = Vec::new();
        if !caller::is_root() {
            places
                .push(caller::xdg_folder("XDG_CONFIG_HOME", ".config").join("virshle/config.toml"));
        }
        places.push(PathBuf::from(HOST));
        match places.iter().find(|path| path.exists()) {
            Some(path) => Ok(path.clone()),
            None => Err(TemplateError::NoFile { looked: places }),
        }
    }
}
