//! The node's directory: where machines are, and what makes one exist.
//!
//! A machine exists exactly when `vm/<uuid>/vm.toml` exists. It is staged in `vm/.new-<uuid>` and
//! the rename of that directory is the moment it comes to be; it ends with a rename to
//! `vm/.gone-<uuid>`. Whatever an interrupted process leaves behind carries one of these two
//! prefixes and is swept by the next one, unless a process still holds its lock.

pub(crate) mod claim;
pub(crate) mod commit;
pub(crate) mod dir;
pub(crate) mod error;
pub(crate) mod history;
pub(crate) mod layout;
pub(crate) mod next_id;
pub(crate) mod restart_state;
pub(crate) mod run_record;
pub(crate) mod sweep;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;
use virshle_template::Distrust;

use crate::fs::error::FileError;
use crate::fs::file::{ensure_directory, open_regular};
use crate::fs::trust;
use crate::model::definition::Definition;
use crate::model::definition::error::DefinitionError;
use crate::model::definition::head::Head;
use crate::store::dir::Dir;
use crate::store::error::StoreError;
use crate::store::layout::{DEFINITION, canonical};

/// How long a claim waits for others: each of them holds the lock for milliseconds.
pub(crate) const CLAIM_TIMEOUT: Duration = Duration::from_secs(10);

/// The node's directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
    /// The configuration that says where it is, and why root must not believe it, if there is a reason.
    config: Option<(PathBuf, Option<Distrust>)>,
}

/// What a listing found: machines, and directories that should be one but can't be read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) heads: Vec<Head>,
    pub(crate) broken: Vec<StoreError>,
}

impl Store {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, config: None }
    }

    /// The same, for a node with that configuration: if root must not believe it, root is refused everything.
    pub(crate) fn distrusting(self, config: &Path, distrust: Option<Distrust>) -> Self {
        Self { config: Some((config.to_owned(), distrust)), ..self }
    }

    /// Refuses root a node that another user could have changed: its configuration, its directories.
    /// Every way into the store comes by here, and so does what runs a program of the configuration.
    pub(crate) fn check_trust(&self) -> Result<(), FileError> {
        self.untrusted().map_or(Ok(()), Err)
    }

    /// What of the node root must not believe; the first that is found.
    pub(crate) fn untrusted(&self) -> Option<FileError> {
        if !trust::applies() {
            return None;
        }
        if let Some((path, Some(source))) = &self.config {
            return Some(FileError::Untrusted { path: path.clone(), source: *source });
        }
        let own = [self.root.clone(), self.machines(), self.cache()].iter().find_map(|path| {
            // One that isn't there yet is created; one that can't be looked at can't be used.
            trust::check(path, &path.metadata().ok()?).err()
        });
        let config = self.config.as_ref().map(|(path, _)| path);
        let mut named = config.into_iter().chain([&self.root]);
        own.or_else(|| named.find_map(|path| trust::check_above(path).err()))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where images are kept.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    pub(crate) fn machines(&self) -> PathBuf {
        self.root.join("vm")
    }

    /// The directory of the machine `uuid`.
    pub(crate) fn directory(&self, uuid: Uuid) -> PathBuf {
        self.machines().join(uuid.to_string())
    }

    /// Creates the directories of the node, private to their user and readable by its group.
    pub(crate) fn ensure(&self) -> Result<Vec<PathBuf>, FileError> {
        self.check_trust()?;
        self.check_name()?;
        let mut created = Vec::new();
        for path in self.missing() {
            ensure_directory(&path, 0o750)?;
            created.push(path);
        }
        Ok(created)
    }

    /// Refuses a root in which no machine could start: before anything is created in it, and not when
    /// the first of them is to start.
    pub(crate) fn check_name(&self) -> Result<(), FileError> {
        let what = match self.root.to_str() {
            // Neither JSON, which the API and the switch speak, nor TOML has other bytes.
            None => "it is not UTF-8",
            Some(root) if root.contains(char::is_control) => "it has control characters",
            // In an option of cloud-hypervisor each of them means something else.
            Some(root) if root.contains([',', '"', '[', ']']) => {
                "cloud-hypervisor takes no path with a comma, a quotation mark or a bracket"
            }
            Some(_) => return Ok(()),
        };
        Err(FileError::Root { path: self.root.clone(), what })
    }

    /// The directories of the node that aren't there yet.
    pub(crate) fn missing(&self) -> Vec<PathBuf> {
        [self.root.clone(), self.machines(), self.cache()]
            .into_iter()
            .filter(|path| !path.is_dir())
            .collect()
    }

    /// Every machine, by id.
    pub(crate) fn find(&self) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let uuids = self.uuids()?;
        if uuids.is_empty() {
            return Ok(found);
        }
        let mut dir = self.dir()?;
        for uuid in uuids {
            match self.head(&mut dir, uuid) {
                Ok(head) => found.heads.push(head),
                Err(error) if error.is_absent() => {}
                Err(error) => found.broken.push(error),
            }
        }
        found.heads.sort_by_key(|head| head.id);
        Ok(found)
    }

    /// What listings need of the definition of the machine `uuid`.
    fn head(&self, dir: &mut Dir, uuid: Uuid) -> Result<Head, StoreError> {
        let quick = dir.definition(uuid).ok().and_then(Head::parse);
        if let Some(head) = quick.filter(|head| head.uuid == uuid) {
            return Ok(head);
        }
        // Read again with care, for the error message.
        let (path, text) = self.text(uuid)?;
        let head = Head::from_toml(&text, &path)?;
        if head.uuid == uuid { Ok(head) } else { Err(uuid_mismatch(path)) }
    }

    /// The directory of machines, to read much of it.
    pub(crate) fn dir(&self) -> Result<Dir, FileError> {
        self.check_trust()?;
        let path = self.machines();
        Dir::open(&path).map_err(|source| FileError::Read { path, source })
    }

    /// The definition of the machine `uuid`, one of many that are read.
    pub(crate) fn read_of_many(&self, dir: &mut Dir, uuid: Uuid) -> Result<Definition, StoreError> {
        let quick = dir.definition(uuid).ok().and_then(Definition::parse);
        match quick.filter(|definition| definition.uuid == uuid) {
            Some(definition) => Ok(definition),
            None => self.read(uuid),
        }
    }

    /// The definition of the machine `uuid`.
    pub(crate) fn read(&self, uuid: Uuid) -> Result<Definition, StoreError> {
        self.check_trust()?;
        let (path, text) = self.text(uuid)?;
        let definition = Definition::from_toml(&text, &path)?;
        // Else what is done to it would be done to the other one.
        if definition.uuid == uuid { Ok(definition) } else { Err(uuid_mismatch(path)) }
    }

    /// The definition of the machine `uuid`: its path and its text.
    fn text(&self, uuid: Uuid) -> Result<(PathBuf, String), FileError> {
        let directory = self.directory(uuid);
        let path = directory.join(DEFINITION);
        let failed = |source| FileError::Read { path: path.clone(), source };
        trust::check(&directory, &directory.metadata().map_err(failed)?)?;
        let file = open_regular(&path).map_err(failed)?;
        trust::check(&path, &file.metadata().map_err(failed)?)?;
        let text = crate::model::definition::read_open(&file).map_err(failed)?;
        Ok((path, text))
    }

    pub(crate) fn uuids(&self) -> Result<Vec<Uuid>, FileError> {
        Ok(self.entries()?.into_iter().filter_map(|name| canonical(&name)).collect())
    }

    /// The names in `vm/`; none if the node was never used.
    pub(crate) fn entries(&self) -> Result<Vec<String>, FileError> {
        self.check_trust()?;
        let path = self.machines();
        let failed = |source| FileError::Read { path: path.clone(), source };
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// A definition in a directory that is not called as its machine.
fn uuid_mismatch(path: PathBuf) -> StoreError {
    DefinitionError::UuidMismatch { path }.into()
}
