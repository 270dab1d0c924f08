//! Who, but root, could have written a file that decides what root does.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Why a file, or a directory, must not decide what root does: another user can change it.
///
/// sudo(8) and sshd(8) refuse theirs for the same reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It belongs to another user.
    #[error("it belongs to user {uid}, and root would act on it")]
    Owner {
        /// The user's id.
        uid: u32,
    },
    /// Its group can write to it; so it looks, too, if an access list lets others.
    #[error("its group can write to it, and root would act on it")]
    Group,
    /// Everybody can write to it.
    #[error("every user can write to it, and root would act on it")]
    Everybody,
}

impl Distrust {
    /// Why root must not believe what is in the file, or directory, with this `metadata`; nothing if
    /// root alone can change it.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        Self::new(metadata.uid(), metadata.mode())
    }

    /// The same for what belongs to the user `uid` and has this `mode`, as stat(2) has them.
    pub fn new(uid: u32, mode: u32) -> Option<Self> {
        if uid != 0 {
            Some(Self::Owner { uid })
        } else if mode & 0o002 != 0 {
            Some(Self::Everybody)
        } else if mode & 0o020 != 0 {
            Some(Self::Group)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_alone_can_change_is_believed() {
        for mode in [0o100_644, 0o100_600, 0o040_750, 0o100_444, 0o040_711] {
            assert_eq!(Distrust::new(0, mode), None, "{mode:o}");
            assert_eq!(Distrust::new(7, mode), Some(Distrust::Owner { uid: 7 }));
        }
        assert_eq!(Distrust::new(0, 0o100_664), Some(Distrust::Group));
        assert_eq!(Distrust::new(0, 0o100_666), Some(Distrust::Everybody));
        // A sticky directory keeps nobody from adding to it.
        assert_eq!(Distrust::new(0, 0o041_777), Some(Distrust::Everybody));
    }
}
