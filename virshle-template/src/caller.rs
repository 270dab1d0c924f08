//! The calling user, and where their files are.

use std::ffi::OsString;
use std::path::PathBuf;

/// Who is calling, as far as it decides where files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) is_root: bool,
    /// Their home directory: what `~` stands for.
    pub(crate) home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`, or what stands for it.
    pub(crate) config_home: Option<PathBuf>,
    /// `$XDG_DATA_HOME`, or what stands for it.
    pub(crate) data_home: Option<PathBuf>,
    /// `$VIRSHLE_CONFIG`.
    pub(crate) named_config: Option<PathBuf>,
}

impl Caller {
    /// The user of this process, with its environment.
    pub(crate) fn current() -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Self::new(is_root, std::env::home_dir(), |variable| std::env::var_os(variable))
    }

    fn new(
        is_root: bool,
        home: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        // A relative home would mean another directory wherever one stands.
        let home = home.filter(|home| home.is_absolute());
        // XDG Base Directory Specification: relative values are to be ignored.
        let directory = |name, fallback| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| Some(home.as_ref()?.join(fallback)))
        };
        Self {
            is_root,
            config_home: directory("XDG_CONFIG_HOME", ".config"),
            data_home: directory("XDG_DATA_HOME", ".local/share"),
            named_config: variable("VIRSHLE_CONFIG")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            home,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_from_the_environment_or_lie_in_the_home() {
        let caller = Caller::new(false, Some("/home/a".into()), |name| {
            (name == "XDG_DATA_HOME").then(|| "/data".into())
        });
        assert_eq!(caller.config_home, Some("/home/a/.config".into()));
        assert_eq!(caller.data_home, Some("/data".into()));
        assert_eq!(caller.named_config, None);
    }

    #[test]
    fn a_relative_or_empty_directory_is_ignored() {
        let caller = Caller::new(false, Some("".into()), |_| Some("".into()));
        assert_eq!(caller, Caller::default());
        let caller = Caller::new(false, Some("home".into()), |_| Some("here".into()));
        assert_eq!((caller.home, caller.config_home), (None, None));
    }
}
