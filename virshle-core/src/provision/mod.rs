//! What a guest is given at its first boot: a seed disk with files that cloud-init reads.
//!
//! # References
//!
//! cloud-init's documentation: NoCloud, module reference, networking version 2, MIME multi-part
//! archives. JSON is YAML, so that nothing has to be quoted by hand.

pub(crate) mod caller_keys;
mod cloud_config;
pub(crate) mod error;
pub(crate) mod host_key;
mod json;
mod mime;
mod network_config;
pub(crate) mod node_key;

use std::path::Path;

use serde_json::json;
use uuid::Uuid;
use virshle_disk::{Disk, DiskError, SeedRequest};
use virshle_template::{MAX_USER_DATA, UserData, UserSettings, VmTemplate};

use crate::fs::error::FileError;
use crate::fs::file::read_bounded;
use crate::model::definition::NetDefinition;
use crate::model::name::VmName;
use crate::provision::error::ProvisionError;
use crate::provision::host_key::GuestHostKey;
use crate::provision::mime::user_data;
use crate::provision::network_config::network_config;

/// Where a machine's user data comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provision {
    /// From the template, and from nowhere if it names none.
    #[default]
    Template,
    /// From the template; if it names none, this.
    TemplateOr(UserData),
    /// These, in their order, whatever the template names.
    With(Vec<UserData>),
    /// From nowhere: there is no seed.
    Nothing,
}

/// User data that has been read, for any number of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    parts: Vec<UserData>,
    /// They are the caller's keys, which were not asked for: a machine that could not use them does
    /// without.
    keys_are_default: bool,
    is_refused: bool,
}

impl Parts {
    /// Reads what `provision` and `template` name.
    pub(crate) fn read(
        provision: &Provision,
        template: &VmTemplate,
    ) -> Result<Self, ProvisionError> {
        let named = || template.user_data.as_deref().map(read_user_data).transpose();
        let mut read = Self::default();
        match provision {
            Provision::Nothing => read.is_refused = true,
            Provision::With(parts) => read.parts = parts.clone(),
            Provision::Template => read.parts.extend(named()?),
            Provision::TemplateOr(other) => match named()? {
                Some(data) => read.parts.push(data),
                None => {
                    read.parts.push(other.clone());
                    read.keys_are_default = true;
                }
            },
        }
        Ok(read)
    }

    /// Whether a machine of `template` gets a seed.
    pub(crate) fn wants_seed(&self, template: &VmTemplate) -> bool {
        let has_addresses = template.nets.iter().any(|net| !net.addresses.is_empty());
        let asked = !self.parts.is_empty() && !self.keys_are_default;
        let fallback = self.keys_are_default && !template.disks.is_empty();
        !self.is_refused && (asked || fallback || has_addresses)
    }

    /// The account that the machine can be entered by, if that is known.
    pub(crate) fn user(&self) -> Option<String> {
        // What comes of a part that says itself how it is merged, only cloud-init knows.
        let says_how = |part: &UserData| part.has_key("merge_how") || part.has_key("merge_type");
        if self.parts.len() > 1 && self.parts.iter().any(says_how) {
            return None;
        }
        self.parts.iter().find_map(UserData::first_user)
    }

    /// Whether the guest gets the key of its ssh server from us: not if the user data has one, or says
    /// what becomes of the file that we write it to.
    pub(crate) fn wants_host_key(&self) -> bool {
        !self.parts.iter().any(|part| part.has_key("ssh_keys") || part.has_key("vendor_data"))
    }

    /// The keys that the user data gives the guest's ssh server, each as its kind and its base64.
    pub(crate) fn host_keys(&self) -> Vec<String> {
        self.parts.iter().flat_map(UserData::host_keys).collect()
    }

    fn settings(&self) -> impl Iterator<Item = &UserSettings> {
        self.parts.iter().filter_map(|part| match part {
            UserData::Settings(settings) => Some(settings),
            UserData::CloudConfig(_) | UserData::Script(_) => None,
        })
    }

    /// Creates the seed of one machine.
    pub(crate) fn write_seed(
        &self,
        path: &Path,
        uuid: Uuid,
        name: &VmName,
        template: &VmTemplate,
        nets: &[NetDefinition],
        host_key: Option<&GuestHostKey>,
    ) -> Result<Disk, DiskError> {
        let hostname = self.settings().find_map(|settings| settings.hostname.clone());
        let hostname = hostname.unwrap_or_else(|| name.host_name());
        // A line for each: small guests take it apart without knowing YAML.
        let meta = format!("instance-id: {uuid}\nlocal-hostname: {}\n", json!(hostname));
        let mut request = SeedRequest::new(path)
            .file("meta-data", meta)
            .file("user-data", user_data(&self.parts));
        if let Some(key) = host_key {
            // What the user wrote stays as it is, and where both say something it is the user's word
            // that counts.
            let config = format!("#cloud-config\n{}\n", json::yaml(&key.cloud_config()));
            request = request.file("vendor-data", config);
        }
        if !nets.is_empty() {
            request = request.file(
                "network-config",
                format!("{}\n", json::yaml(&network_config(template, nets))),
            );
        }
        request.write()
    }
}

/// Reads the user data in `path`.
///
/// # Errors
///
/// [`ProvisionError::File`] if it can't be read, [`ProvisionError::Template`] with every mistake in it.
pub fn read_user_data(path: &Path) -> Result<UserData, ProvisionError> {
    let failed = FileError::reading(path);
    let file = std::fs::File::open(path).map_err(&failed)?;
    let bytes = read_bounded(&file, MAX_USER_DATA as u64).map_err(&failed)?;
    Ok(UserData::parse_bytes(&bytes, path)?)
}
