//! A POSIX access list, as Linux keeps it in an attribute of the file.

const VERSION: u32 = 2;
const NOBODY: u32 = u32::MAX;

/// Whom an entry is about: the tags of `linux/posix_acl.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
enum Tag {
    Owner = 0x01,
    User = 0x02,
    OwnerGroup = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Others = 0x20,
}

impl Tag {
    fn from_number(number: u16) -> Option<Self> {
        [Self::Owner, Self::User, Self::OwnerGroup, Self::Group, Self::Mask, Self::Others]
            .into_iter()
            .find(|tag| *tag as u16 == number)
    }

    /// Whether the mask limits it.
    fn is_masked(self) -> bool {
        matches!(self, Self::User | Self::OwnerGroup | Self::Group)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    tag: Tag,
    id: u32,
    rights: u16,
}

/// Who may do what with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessList(Vec<Entry>);

impl AccessList {
    /// The list equivalent to the nine bits of `mode`.
    pub(crate) fn of_mode(mode: u32) -> Self {
        let entry = |tag, shift: u32| {
            let rights = u16::try_from((mode >> shift) & 7).unwrap_or_default();
            Entry { tag, id: NOBODY, rights }
        };
        Self(vec![entry(Tag::Owner, 6), entry(Tag::OwnerGroup, 3), entry(Tag::Others, 0)])
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (version, entries) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION || entries.len() % 8 != 0 {
            return None;
        }
        let entries = entries.chunks_exact(8).map(|entry| {
            let half =
                |at: usize| Some(u16::from_le_bytes(entry.get(at..at + 2)?.try_into().ok()?));
            let id = u32::from_le_bytes(entry.get(4..8)?.try_into().ok()?);
            Some(Entry { tag: Tag::from_number(half(0)?)?, id, rights: half(2)? & 7 })
        });
        entries.collect::<Option<_>>().map(Self)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            bytes.extend((entry.tag as u16).to_le_bytes());
            bytes.extend(entry.rights.to_le_bytes());
            bytes.extend(entry.id.to_le_bytes());
        }
        bytes
    }

    /// Returns whether this user of these groups has all of `rights`, by the order of `acl(5)`.
    pub(crate) fn allows(
        &self,
        is_owner: bool,
        in_owner_group: bool,
        uid: u32,
        gids: &[u32],
        rights: u16,
    ) -> bool {
        let mask = self.mask().unwrap_or(7);
        let enough = |entry: &Entry| {
            let limit = if entry.tag.is_masked() { mask } else { 7 };
            entry.rights & limit & rights == rights
        };
        if is_owner {
            return self.0.iter().any(|entry| entry.tag == Tag::Owner && enough(entry));
        }
        if let Some(entry) = self.0.iter().find(|entry| entry.tag == Tag::User && entry.id == uid) {
            return enough(entry);
        }
        let mut groups = self
            .0
            .iter()
            .filter(|entry| match entry.tag {
                Tag::OwnerGroup => in_owner_group,
                Tag::Group => gids.contains(&entry.id),
                _ => false,
            })
            .peekable();
        if groups.peek().is_some() {
            return groups.any(enough);
        }
        self.0.iter().any(|entry| entry.tag == Tag::Others && enough(entry))
    }

    /// Gives a user `rights` beside what they have. What the mask kept from others stays theirs
    /// not to have.
    pub(crate) fn add_user(&mut self, uid: u32, rights: u16) {
        self.add(Tag::User, uid, rights);
    }

    /// The same for a group.
    pub(crate) fn add_group(&mut self, gid: u32, rights: u16) {
        self.add(Tag::Group, gid, rights);
    }

    fn add(&mut self, tag: Tag, id: u32, rights: u16) {
        if let Some(mask) = self.mask() {
            for entry in self.0.iter_mut().filter(|entry| entry.tag.is_masked()) {
                entry.rights &= mask;
            }
        }
        match self.0.iter_mut().find(|entry| entry.tag == tag && entry.id == id) {
            Some(entry) => entry.rights |= rights,
            None => self.0.push(Entry { tag, id, rights }),
        }
        self.set_mask();
    }

    /// Takes a group's entry away. False if there was none.
    pub(crate) fn remove_group(&mut self, gid: u32) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.tag != Tag::Group || entry.id != gid);
        if self.0.len() == before {
            return false;
        }
        self.set_mask();
        true
    }

    /// Returns whether the nine bits of a mode say the same.
    pub(crate) fn is_a_mode(&self) -> bool {
        self.0.iter().all(|entry| !matches!(entry.tag, Tag::User | Tag::Group))
    }

    /// Sets the mask to what the entries that it limits have, which changes nothing for any of them.
    fn set_mask(&mut self) {
        self.0.retain(|entry| entry.tag != Tag::Mask);
        let masked = self.0.iter().filter(|entry| entry.tag.is_masked());
        let rights = masked.fold(0, |all, entry| all | entry.rights);
        self.0.push(Entry { tag: Tag::Mask, id: NOBODY, rights });
        self.0.sort();
    }

    fn mask(&self) -> Option<u16> {
        self.0.iter().find(|entry| entry.tag == Tag::Mask).map(|entry| entry.rights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let mut list = AccessList::of_mode(0o750);
        list.add_user(42, 1);
        list.add_user(7, 6);
        assert_eq!(AccessList::from_bytes(&list.to_bytes()), Some(list));
        for bytes in
            [&b""[..], &[2, 0, 0, 0, 1], &[3, 0, 0, 0], &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(AccessList::from_bytes(bytes), None);
        }
    }

    #[test]
    fn a_grant_gives_no_other_user_anything() {
        let mut list = AccessList::of_mode(0o740);
        list.add_user(42, 3);
        assert!(list.allows(false, false, 42, &[42], 3));
        assert!(!list.allows(false, false, 42, &[42], 4));
        assert!(!list.allows(false, false, 43, &[43], 1));
        assert!(list.allows(false, true, 43, &[43], 4) && !list.allows(false, true, 43, &[43], 1));

        // A mask that hid the group's right to write hides it still.
        let mut masked = AccessList(vec![
            Entry { tag: Tag::Owner, id: NOBODY, rights: 7 },
            Entry { tag: Tag::OwnerGroup, id: NOBODY, rights: 6 },
            Entry { tag: Tag::Mask, id: NOBODY, rights: 4 },
            Entry { tag: Tag::Others, id: NOBODY, rights: 0 },
        ]);
        masked.add_user(42, 7);
        assert!(!masked.allows(false, true, 43, &[43], 2));
        assert!(masked.allows(false, false, 42, &[42], 7));
    }

    #[test]
    fn a_groups_entry_comes_and_goes() {
        let before = AccessList::of_mode(0o750);
        let mut list = before.clone();
        list.add_group(42, 1);
        assert!(list.allows(false, false, 7, &[9, 42], 1));
        assert!(!list.allows(false, false, 7, &[9, 42], 4));
        assert!(!list.allows(false, false, 7, &[9], 1));
        assert_eq!(AccessList::from_bytes(&list.to_bytes()), Some(list.clone()));
        assert!(!list.is_a_mode());
        assert!(list.remove_group(42) && !list.remove_group(42));
        assert!(list.is_a_mode());
        for (owner, group) in [(true, false), (false, true), (false, false)] {
            for rights in 0..8 {
                let ask = |list: &AccessList| list.allows(owner, group, 7, &[42], rights);
                assert_eq!(ask(&list), ask(&before));
            }
        }
    }

    #[test]
    fn the_mode_alone_is_understood() {
        let list = AccessList::of_mode(0o751);
        assert!(list.allows(true, false, 1, &[1], 7));
        assert!(list.allows(false, true, 2, &[1], 5) && !list.allows(false, true, 2, &[1], 2));
        assert!(list.allows(false, false, 2, &[2], 1) && !list.allows(false, false, 2, &[2], 4));
    }
}
