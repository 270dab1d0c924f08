//! `[node]`: what the node calls itself, and where it keeps its machines.

use std::path::PathBuf;

use serde::Serialize;

use crate::caller::Caller;
use crate::section::Section;

/// `[node]`: what the node calls itself, and where it keeps its machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeSettings {
    /// What listings call the node, in at most 63 characters; the host's name if unset.
    pub alias: Option<String>,
    /// The directory of the machines; [`NodeSettings::default_root`] if unset.
    pub root: Option<PathBuf>,
}

/// The directory of the machines of the host.
const HOST: &str = "/var/lib/virshle";
/// The longest alias, in characters.
const MAX_ALIAS: usize = 63;

impl NodeSettings {
    /// `/var/lib/virshle`, or `$XDG_DATA_HOME/virshle` when the caller is not root.
    pub fn default_root() -> PathBuf {
        default_root(Caller::current())
    }

    pub(crate) fn read(section: Option<Section<'_>>) -> Self {
        let Some(section) = section else { return Self::default() };
        let settings = Self { alias: alias(&section), root: section.path("root") };
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
    fn an_alias_is_a_label_for_people() {
        assert_eq!(read("alias = 'Déku 1'", alias).as_deref(), Some("Déku 1"));
        for text in ["", " ", "a\\nb", "\\u001b[2J", &"x".repeat(64)] {
            assert_eq!(mistakes(&format!("alias = \"{text}\""), alias).len(), 1, "{text}");
        }
    }
}
