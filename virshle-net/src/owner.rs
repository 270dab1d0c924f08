//! Ownership marks of rows, in `external_ids`.

use crate::ovsdb::{Atom, Row, Value};

/// The machine that a port belongs to, kept in the row's `external_ids`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Owner {
    /// The machine's uuid: `virshle-uuid`, and `vm-id` of the interface.
    pub uuid: String,
    /// The machine's name, for people: `virshle-name`.
    pub name: String,
    /// What distinguishes this node's machines from another's on the same switch: `virshle-node`.
    /// Empty if it was never set.
    pub node: String,
}

impl Owner {
    /// The machine of this uuid and name.
    pub fn new(uuid: impl Into<String>, name: impl Into<String>) -> Self {
        Self { uuid: uuid.into(), name: name.into(), node: String::new() }
    }

    /// Sets what distinguishes this node's machines from another's on the same switch.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    pub(crate) fn marks(&self) -> Vec<(&'static str, String)> {
        let mut marks = vec![(UUID, self.uuid.clone()), (NAME, self.name.clone())];
        if !self.node.is_empty() {
            marks.push((NODE, self.node.clone()));
        }
        marks
    }

    /// The owner that a row names, if it names one.
    pub(crate) fn of(row: &Row) -> Option<Self> {
        let ids = row.get("external_ids")?;
        let text = |key| ids.text_of(key).unwrap_or_default().to_owned();
        Some(Self { uuid: ids.text_of(UUID)?.into(), name: text(NAME), node: text(NODE) })
    }
}

const UUID: &str = "virshle-uuid";
const NAME: &str = "virshle-name";
pub(crate) const NODE: &str = "virshle-node";
const ROLE: &str = "virshle-role";

/// What a row of ours is for: `virshle-role`, on every row of ours and on no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Bridge,
    Patch,
    Port,
    Capture,
    Qos,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Patch => "patch",
            Self::Port => "port",
            Self::Capture => "capture",
            Self::Qos => "qos",
        }
    }

    pub(crate) fn mark(self) -> (&'static str, String) {
        (ROLE, self.as_str().into())
    }

    /// The `external_ids` of a row of ours that belongs to no machine.
    pub(crate) fn ids(self) -> Value {
        Value::map([self.mark()])
    }

    pub(crate) fn marks(self, row: &Row) -> bool {
        row.get("external_ids").and_then(|ids| ids.text_of(ROLE)) == Some(self.as_str())
    }
}

/// What `external_ids` must include for a row to belong to the machine `uuid`.
pub(crate) fn owned_by(uuid: &str) -> Value {
    Value::Map(vec![(Atom::from(UUID), Atom::from(uuid))])
}
