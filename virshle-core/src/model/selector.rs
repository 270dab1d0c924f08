//! Which machines are meant: ids, names, uuids, states, templates.

use uuid::Uuid;

use crate::model::definition::head::Head;
use crate::model::state::VmState;

/// One way of meaning one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// An id, a name, a uuid or the beginning of one.
    Word(String),
    /// The id.
    Id(u64),
    /// The name.
    Name(String),
    /// The uuid, or the beginning of one that only one machine has.
    Uuid(String),
}

/// Why a selector means no single machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// No machine is meant.
    #[error("no machine {word:?}")]
    NoSuchVm {
        /// The id, name or uuid that was given.
        word: String,
        /// The machines there are.
        known: Vec<String>,
    },
    /// No machine was created from such a template, and the configuration has none of that name.
    #[error("no template {name:?}")]
    NoSuchTemplate {
        /// The name that was given.
        name: String,
        /// The templates there are.
        known: Vec<String>,
    },
    /// More than one machine is meant.
    #[error("{word:?} could mean {}", .candidates.join(" or "))]
    Ambiguous {
        /// The id, name or uuid that was given.
        word: String,
        /// What it could mean.
        candidates: Vec<String>,
    },
}

/// Which machines are meant: those that a selector names, or else all, as far as they fit the
/// filters.
///
/// The default means no machine: nothing is stopped or removed because nothing was said.
///
/// # Example
///
/// ```
/// use virshle_core::{Selection, VmState};
///
/// let every_one = Selection::all();
/// let running = Selection::all().state(VmState::Running);
/// let of_two_kinds = Selection::all().template("xs").template("web");
/// let web = Selection::word("web");
/// assert!(every_one.is_all() && !running.is_all());
/// assert!(Selection::default().is_none());
/// # drop((of_two_kinds, web));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Selection {
    /// Every machine is meant, if none is named.
    pub all: bool,
    /// The machines that are named one by one. With none named, and with a filter or [`all`](Self::all),
    /// all of them.
    pub named: Vec<Selector>,
    /// Only those in one of these states, if there are any.
    pub states: Vec<VmState>,
    /// Only those made from one of these templates, if there are any.
    pub templates: Vec<String>,
    /// Only those that are to be started when the host boots.
    pub autostart: bool,
}

impl Selection {
    /// The one machine that `word` means: an id, a name, a uuid or the beginning of one.
    pub fn word(word: impl Into<String>) -> Self {
        Self { named: vec![Selector::Word(word.into())], ..Self::default() }
    }

    /// Every machine.
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Names one more machine.
    pub fn selector(mut self, selector: Selector) -> Self {
        self.named.push(selector);
        self
    }

    /// Narrows it to machines in this state; said again, to those in either.
    pub fn state(mut self, state: VmState) -> Self {
        self.states.push(state);
        self
    }

    /// Narrows it to machines made from this template; said again, from either.
    pub fn template(mut self, name: impl Into<String>) -> Self {
        self.templates.push(name.into());
        self
    }

    /// Narrows it to machines that are started when the host boots.
    pub fn autostart(mut self) -> Self {
        self.autostart = true;
        self
    }

    /// Whether this means every machine there is.
    pub fn is_all(&self) -> bool {
        *self == Self::all()
    }

    /// Whether this means no machine, whatever machines there are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The machines of `heads` that are meant, each once, by id; their states are not looked at.
    pub(crate) fn choose<'a>(&self, heads: &'a [Head]) -> Result<Vec<&'a Head>, SelectError> {
        let mut chosen: Vec<&Head> = Vec::new();
        for selector in &self.named {
            chosen.push(selector.choose(heads)?);
        }
        if self.named.is_empty() && !self.is_none() {
            chosen.extend(heads);
        }
        chosen.sort_by_key(|head| head.id);
        chosen.dedup_by_key(|head| head.uuid);
        chosen.retain(|head| {
            (self.templates.is_empty() || self.templates.contains(&head.template))
                && (!self.autostart || head.autostart)
        });
        Ok(chosen)
    }

    pub(crate) fn fits_state(&self, state: VmState) -> bool {
        self.states.is_empty() || self.states.contains(&state)
    }
}

/// The shortest beginning of a uuid that is taken for one: a shorter word is more likely a typo.
const SHORTEST_PREFIX: usize = 4;

impl Selector {
    fn choose<'a>(&self, heads: &'a [Head]) -> Result<&'a Head, SelectError> {
        match self {
            Self::Word(word) => one(word, &by_word(word, heads), heads),
            Self::Id(id) => {
                let found: Vec<_> = heads.iter().filter(|head| head.id == *id).collect();
                one(&id.to_string(), &found, heads)
            }
            Self::Name(name) => one(name, &by_name(name, heads), heads),
            Self::Uuid(text) => one(text, &by_uuid(text, heads), heads),
        }
    }
}

fn by_word<'a>(word: &str, heads: &'a [Head]) -> Vec<&'a Head> {
    let id = word.parse::<u64>().ok();
    if let Some(head) = id.and_then(|id| heads.iter().find(|head| head.id == id)) {
        return vec![head];
    }
    // A name that is also the beginning of another machine's uuid means both, so neither.
    let mut found = by_name(word, heads);
    for head in by_uuid(word, heads) {
        if !found.iter().any(|other| other.uuid == head.uuid) {
            found.push(head);
        }
    }
    found
}

fn by_name<'a>(name: &str, heads: &'a [Head]) -> Vec<&'a Head> {
    heads.iter().filter(|head| head.name.as_str() == name).collect()
}

fn by_uuid<'a>(text: &str, heads: &'a [Head]) -> Vec<&'a Head> {
    if let Ok(uuid) = text.parse::<Uuid>() {
        return heads.iter().filter(|head| head.uuid == uuid).collect();
    }
    let text = text.to_ascii_lowercase();
    if text.len() < SHORTEST_PREFIX {
        return Vec::new();
    }
    heads.iter().filter(|head| head.uuid.to_string().starts_with(&text)).collect()
}

fn one<'a>(word: &str, found: &[&'a Head], heads: &[Head]) -> Result<&'a Head, SelectError> {
    match found {
        [] => Err(SelectError::NoSuchVm {
            word: word.to_owned(),
            known: heads.iter().map(|head| head.name.to_string()).collect(),
        }),
        [head] => Ok(head),
        _ => Err(SelectError::Ambiguous {
            word: word.to_owned(),
            candidates: found
                .iter()
                .map(|head| format!("{} (id {}, {})", head.name, head.id, head.uuid))
                .collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(id: u64, name: &str, uuid: u128) -> Head {
        Head {
            format: 1,
            id,
            uuid: Uuid::from_u128(uuid),
            name: name.parse().unwrap(),
            template: "xs".into(),
            vcpus: 1,
            memory_bytes: 1 << 30,
            autostart: false,
        }
    }

    fn ids(selection: &Selection, heads: &[Head]) -> Result<Vec<u64>, String> {
        selection
            .choose(heads)
            .map(|found| found.iter().map(|head| head.id).collect())
            .map_err(|error| error.to_string())
    }

    fn word(word: &str) -> Selection {
        Selection::word(word)
    }

    fn named(selector: Selector) -> Selection {
        Selection { named: vec![selector], ..Selection::default() }
    }

    #[test]
    fn an_argument_is_an_id_a_name_or_the_beginning_of_a_uuid() {
        let heads = [head(1, "web", 0xaaaa_0000 << 96), head(2, "db", 0xaaaa_1111 << 96)];
        assert_eq!(ids(&word("1"), &heads), Ok(vec![1]));
        assert_eq!(ids(&word("db"), &heads), Ok(vec![2]));
        assert_eq!(ids(&word("AAAA1"), &heads), Ok(vec![2]));
        assert!(ids(&word("aaaa"), &heads).unwrap_err().contains("aaaa"));
        assert!(ids(&word("aa"), &heads).is_err());
        assert!(ids(&word("3"), &heads).is_err());
    }

    #[test]
    fn a_name_that_begins_another_uuid_is_ambiguous() {
        let heads = [head(1, "aaaa", 0), head(2, "db", 0xaaaa_1111 << 96)];
        assert!(ids(&word("aaaa"), &heads).is_err());
        assert_eq!(ids(&named(Selector::Name("aaaa".into())), &heads), Ok(vec![1]));
        assert_eq!(ids(&named(Selector::Uuid("aaaa".into())), &heads), Ok(vec![2]));
    }

    #[test]
    fn filters_narrow_what_is_named() {
        let heads = [head(1, "web", 1), head(2, "db", 2)];
        let mut selection = Selection::all().template("no");
        assert_eq!(ids(&selection, &heads), Ok(vec![]));
        selection.templates.push("xs".into());
        assert_eq!(ids(&selection, &heads), Ok(vec![1, 2]));
        selection.named = vec![Selector::Id(2), Selector::Name("db".into())];
        assert_eq!(ids(&selection, &heads), Ok(vec![2]));
        assert!(Selection::all().is_all() && !selection.is_all());
    }

    #[test]
    fn nothing_said_means_no_machine() {
        let heads = [head(1, "web", 1), head(2, "db", 2)];
        assert_eq!(ids(&Selection::default(), &heads), Ok(vec![]));
        assert_eq!(ids(&Selection::all(), &heads), Ok(vec![1, 2]));
        assert_eq!(ids(&Selection::all().autostart(), &heads), Ok(vec![]));
        // A filter is something said: as `--state` does without `--all`.
        let mut filtered = Selection::default();
        filtered.templates.push("xs".into());
        assert_eq!(ids(&filtered, &heads), Ok(vec![1, 2]));
        let named = Selection::default().selector(Selector::Id(2)).template("xs");
        assert_eq!(ids(&named, &heads), Ok(vec![2]));
        // Who is named counts, not `all`.
        assert_eq!(ids(&Selection::all().selector(Selector::Id(1)), &heads), Ok(vec![1]));
    }
}
