//! Whom a caged program runs as.

/// A user, their group, and the supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// A user and a group, with no other groups.
    pub fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid, groups: Vec::new() }
    }

    /// With a supplementary group.
    pub fn group(mut self, gid: u32) -> Self {
        self.groups.push(gid);
        self
    }
}
