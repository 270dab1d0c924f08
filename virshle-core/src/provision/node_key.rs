//! A key of the node's own, for a caller who has none: so that a machine can be entered all the same.

use std::path::{Path, PathBuf};

use virshle_template::{User, UserData, UserSettings, is_public_key};

use crate::fs::error::FileError;
use crate::fs::file::{Sync, create_directory, read_regular, replace};
use crate::machine::node::Node;
use crate::provision::caller_keys::{caller_name, caller_user_data};
use crate::provision::error::ProvisionError;
use crate::provision::host_key::GuestHostKey;
use crate::store::layout;

/// The longest public key that is read, in bytes.
const MAX_KEY: u64 = 16 << 10;

impl Node {
    /// User data that gives the caller access: by their own public keys, or, if they have none, by a key
    /// of the node's own, which is created at the first time.
    ///
    /// # Errors
    ///
    /// [`ProvisionError::File`] if that can't be created.
    pub fn caller_access(&self) -> Result<UserData, ProvisionError> {
        if let Some(data) = caller_user_data() {
            return Ok(data);
        }
        let mut settings = UserSettings::default();
        settings.users.push(User::new(caller_name(), vec![own_key(self)?]));
        Ok(UserData::Settings(settings))
    }
}

/// The private key of the node's own, for a caller who has no other.
pub(crate) fn identity(node: &Node) -> Option<PathBuf> {
    let path = layout::own_key(node.root());
    (path.is_file() && caller_user_data().is_none()).then_some(path)
}

/// The node's own key, created if it isn't there: the public part, as a line.
fn own_key(node: &Node) -> Result<String, FileError> {
    let private = layout::own_key(node.root());
    let public = private.with_extension("pub");
    if let Some(key) = read_public(&public).filter(|_| private.is_file()) {
        return Ok(key);
    }
    node.store().ensure()?;
    if let Some(directory) = private.parent() {
        if !directory.is_dir() {
            create_directory(directory, 0o700)
                .map_err(|source| FileError::Write { path: directory.to_owned(), source })?;
        }
    }
    let failed = |source| FileError::Write { path: private.clone(), source };
    let key = GuestHostKey::generate("virshle").map_err(failed)?;
    let line = format!("{} virshle", key.public());
    // Private to its user, as every file that is replaced so; the public part last: without it both are
    // made anew.
    replace(&private, key.private().as_bytes(), Sync::Yes)?;
    replace(&public, format!("{line}\n").as_bytes(), Sync::Yes)?;
    Ok(line)
}

fn read_public(path: &Path) -> Option<String> {
    let text = String::from_utf8(read_regular(path, MAX_KEY).ok()?).ok()?;
    Some(text.trim().to_owned()).filter(|line| is_public_key(line))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let node = Node::new(virshle_template::Config::default(), Some(directory.path()));
        let key = own_key(&node).unwrap();
        assert!(is_public_key(&key), "{key}");
        assert_eq!(own_key(&node).unwrap(), key);
        let private = layout::own_key(node.root());
        assert_eq!(private.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            private.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        // Of one without the other nothing is believed.
        std::fs::remove_file(&private).unwrap();
        assert_ne!(own_key(&node).unwrap(), key);
    }
}
