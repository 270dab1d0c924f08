//! A value of YAML, as far as it matters here.

use std::rc::Rc;

/// How many mappings that are merged are looked into for a key: by aliases a few lines can be millions.
const MOST_MERGED: u32 = 10_000;

/// A value of YAML.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Scalar { text: String, is_plain: bool },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The items of a sequence; none of anything else.
    pub(crate) fn items(&self) -> &[Rc<Self>] {
        match self {
            Self::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The keys of a mapping with their values; none of anything else.
    pub(crate) fn entries(&self) -> &[(Rc<Self>, Rc<Self>)] {
        match self {
            Self::Mapping(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self, Self::Mapping(_))
    }

    /// Whether this is, as a key, the one by which another mapping is merged.
    pub(crate) fn is_merge(&self) -> bool {
        matches!(self, Self::Scalar { text, is_plain: true } if text == "<<")
    }

    /// Whether this is what a merge key takes: mappings.
    pub(crate) fn can_be_merged(&self) -> bool {
        match self {
            Self::Scalar { .. } => false,
            Self::Sequence(items) => items.iter().all(|item| item.is_mapping()),
            Self::Mapping(_) => true,
        }
    }

    /// The value of `key`: of a key that stands twice the last one, as PyYAML has it; what a merge key
    /// brings comes last.
    pub(crate) fn get(&self, key: &str) -> Option<&Rc<Self>> {
        let mut most = MOST_MERGED;
        self.find(key, &mut most)
    }

    /// As [`Node::get`], looking into so many mappings yet.
    fn find(&self, key: &str, most: &mut u32) -> Option<&Rc<Self>> {
        *most = most.checked_sub(1)?;
        let mut entries = self.entries().iter().rev();
        let own = entries.find(|(name, _)| name.text() == Some(key) && !name.is_merge());
        own.map(|(_, value)| value).or_else(|| {
            let (_, merged) = self.entries().iter().rev().find(|(name, _)| name.is_merge())?;
            let listed =
                |most: &mut u32| merged.items().iter().find_map(|item| item.find(key, most));
            merged.find(key, most).or_else(|| listed(most))
        })
    }

    /// Whether PyYAML takes it for false or for nothing.
    pub(crate) fn is_false(&self) -> bool {
        match self {
            Self::Scalar { text, is_plain: true } => {
                let text = text.to_ascii_lowercase();
                ["", "~", "null", "false", "no", "off", "0"].contains(&text.as_str())
            }
            Self::Scalar { text, is_plain: false } => text.is_empty(),
            Self::Sequence(items) => items.is_empty(),
            Self::Mapping(entries) => entries.is_empty(),
        }
    }
}
