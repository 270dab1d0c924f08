//! `[node]`: what the node calls itself, and where it keeps its machines.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::caller::Caller;
use crate::section::Section;

/// `[node]`: what the node calls itself, and where it keeps its machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeSettings {
    /// What listings call the node, in at most 63 characters; the host's name if unset.
    pub alias: Option<String>,
    /// The directory of the machines; [`NodeSettings::default_root`] if unset.
    pub root: Option<PathBuf>,
    /// How long guests may take to shut down when the host goes down, before their power is cut; 90
    /// seconds unless set.
    pub shutdown_timeout: Duration,
    /// Whether machines may be started that have more memory together than the host; they may unless
    /// set.
    pub overcommit_memory: bool,
    /// Which systemd supervises the machines.
    pub systemd: Systemd,
}

/// Which systemd supervises the machines of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Systemd {
    /// The one that runs the host, or the caller's own when that is not root; none where there is none.
    #[default]
    Auto,
    /// None.
    Off,
    /// The manager that listens at this socket.
    Socket(PathBuf),
}

impl Systemd {
    fn read(section: &Section<'_>) -> Self {
        let Some(text) = section.string("systemd") else { return Self::default() };
        match text.value {
            "auto" => Self::Auto,
            "off" => Self::Off,
            path => section.path_in(path, text.span).map_or(Self::Auto, Self::Socket),
        }
    }
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            alias: None,
            root: None,
            shutdown_timeout: Duration::from_secs(90),
            overcommit_memory: true,
            systemd: Systemd::default(),
        }
    }
}

/// The directory of the machines of the host.
const HOST: &str = "/var/lib/virshle";
/// The longest wait for guests: what virshle.service gives `v` is longer.
const MOST_SHUTDOWN: Duration = Duration::from_secs(3000);
/// The longest alias, in characters.
const MAX_ALIAS: usize = 63;

impl NodeSettings {
    /// `/var/lib/virshle`, or `$XDG_DATA_HOME/virshle` when the caller is not root.
    pub fn default_root() -> PathBuf {
        default_root(Caller::current())
    }

    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let default = Self::default();
        let Some(section) = section else { return default };
        let (alias, root) = (alias(&section), section.path("root"));
        let timeout = section.time("shutdown_timeout", MOST_SHUTDOWN);
        let settings = Self {
            alias,
            root,
            shutdown_timeout: timeout.map_or(default.shutdown_timeout, |time| time.value),
            overcommit_memory: section.boolean("overcommit_memory").unwrap_or(true),
            systemd: Systemd::read(&section),
        };
        section.finish();
        settings
    }
}

fn default_root(caller: Caller) -> PathBuf {
    let own = caller.data_home.filter(|_| !caller.is_root);
    own.map_or_else(|| HOST.into(), |directory| directory.join("virshle"))
}

fn alias(section: &Section<'_>) -> Option<String> {
    let alias = section.string("alias")?;
    let reason = if alias.value.trim().is_empty() {
        "it is empty".to_owned()
    } else if alias.value.chars().count() > MAX_ALIAS {
        format!("it has more than {MAX_ALIAS} characters")
    } else if let Some(odd) = alias.value.chars().find(|character| character.is_control()) {
        format!("it has {odd:?}")
    } else {
        return Some(alias.value.to_owned());
    };
    section.wrong(alias.span, format!("this cannot be an alias: {reason}"), "");
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    #[test]
    fn machines_lie_with_the_host_or_with_their_user() {
        let caller = Caller { data_home: Some("/home/a/data".into()), ..Caller::default() };
        let root = Caller { is_root: true, ..caller.clone() };
        assert_eq!(default_root(root), PathBuf::from("/var/lib/virshle"));
        assert_eq!(default_root(caller), PathBuf::from("/home/a/data/virshle"));
        assert_eq!(default_root(Caller::default()), PathBuf::from("/var/lib/virshle"));
    }

    #[test]
    fn the_settings_of_supervision_have_defaults() {
        let settings = |text: &str| {
            let text = format!("[node]\n{text}");
            read(&text, |section| Some(NodeSettings::read(section.section("node", "node"))))
                .unwrap()
        };
        let default = settings("");
        assert_eq!(default, NodeSettings::default());
        assert_eq!(default.shutdown_timeout, Duration::from_secs(90));
        assert!(default.overcommit_memory && default.systemd == Systemd::Auto);
        let set = settings("shutdown_timeout = '5m'\novercommit_memory = false\nsystemd = 'off'");
        assert_eq!(set.shutdown_timeout, Duration::from_secs(300));
        assert!(!set.overcommit_memory && set.systemd == Systemd::Off);
        let socket = settings("systemd = '/run/other/private'").systemd;
        assert_eq!(socket, Systemd::Socket("/run/other/private".into()));
    }

    #[test]
    fn an_alias_is_a_label_for_people() {
        assert_eq!(read("alias = 'Déku 1'", alias).as_deref(), Some("Déku 1"));
        for text in ["", " ", "a\\nb", "\\u001b[2J", &"x".repeat(64)] {
            assert_eq!(mistakes(&format!("alias = \"{text}\""), alias).len(), 1, "{text}");
        }
    }
}
