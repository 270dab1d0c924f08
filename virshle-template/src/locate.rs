//! Where the configuration file is looked for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::caller::Caller;
use crate::{Config, TemplateError};

/// The file of the host.
const HOST: &str = "/etc/virshle/config.toml";

impl Config {
    /// Finds the configuration file: `explicit`, `$VIRSHLE_CONFIG`,
    /// `$XDG_CONFIG_HOME/virshle/config.toml` when the caller is not root, and
    /// `/etc/virshle/config.toml`.
    ///
    /// One that is named, by the first two, is the answer whether it is there or not: reading it
    /// reports. Of the others the first that is there counts, also if it can't be read.
    ///
    /// # Errors
    ///
    /// [`TemplateError::NoFile`] with the places that were looked at.
    pub fn locate(explicit: Option<&Path>) -> Result<PathBuf, TemplateError> {
        locate(explicit, Caller::current(), is_there)
    }
}

/// Returns whether something is at `path`. What can't be looked at is taken to be: to pass over it
/// would silently use another file.
fn is_there(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

fn locate(
    explicit: Option<&Path>,
    caller: Caller,
    is_there: impl Fn(&Path) -> bool,
) -> Result<PathBuf, TemplateError> {
    if let Some(path) = explicit.map(Path::to_owned).or(caller.named_config) {
        return Ok(path);
    }
    let own = caller.config_home.filter(|_| !caller.is_root);
    let own = own.map(|directory| directory.join("virshle/config.toml"));
    let looked: Vec<PathBuf> = own.into_iter().chain([PathBuf::from(HOST)]).collect();
    match looked.iter().find(|path| is_there(path)) {
        Some(path) => Ok(path.clone()),
        None => Err(TemplateError::NoFile { looked }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller { config_home: Some("/home/a/.config".into()), ..Caller::default() }
    }

    #[test]
    fn the_first_place_that_counts_is_taken() {
        let named = Caller { named_config: Some("/named".into()), ..caller() };
        let found = locate(Some(Path::new("/explicit")), named.clone(), |_| true);
        assert_eq!(found.unwrap(), Path::new("/explicit"));
        assert_eq!(locate(None, named, |_| false).unwrap(), Path::new("/named"));
        let own = Path::new("/home/a/.config/virshle/config.toml");
        assert_eq!(locate(None, caller(), |_| true).unwrap(), own);
        assert_eq!(locate(None, caller(), |path| path != own).unwrap(), Path::new(HOST));
        let root = Caller { is_root: true, ..caller() };
        assert_eq!(locate(None, root, |_| true).unwrap(), Path::new(HOST));
    }

    #[test]
    fn a_search_in_vain_lists_all_the_places() {
        let error = locate(None, caller(), |_| false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no configuration file: looked for /home/a/.config/virshle/config.toml, \
             /etc/virshle/config.toml"
        );
        assert!(error.hint().unwrap().contains("/etc/virshle/config.toml"), "{:?}", error.hint());
    }

    #[test]
    fn what_is_not_there_is_passed_over() {
        assert!(is_there(Path::new("/")));
        assert!(!is_there(Path::new("/nowhere/at/all")));
        assert!(!is_there(Path::new("/dev/null/x")));
    }
}
