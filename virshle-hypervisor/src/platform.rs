//! What the firmware shows to the guest (SMBIOS).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the guest reads of its machine from SMBIOS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlatformConfig {
    /// The machine's UUID, `/sys/class/dmi/id/product_uuid` in the guest.
    #[serde(default, alias = "uuid", skip_serializing_if = "Option::is_none")]
    pub system_uuid: Option<String>,
    /// The machine's serial number.
    #[serde(default, alias = "serial_number", skip_serializing_if = "Option::is_none")]
    pub system_serial_number: Option<String>,
    /// Free strings (SMBIOS type 11), at most 255: systemd reads credentials from them.
    ///
    /// cloud-hypervisor logs them at [`Verbosity::Info`](crate::Verbosity::Info).
    #[serde(
        default,
        deserialize_with = "crate::vm_config::none_is_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub oem_strings: Vec<String>,
    /// Everything else, by its JSON name.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl PlatformConfig {
    /// Sets the machine's UUID.
    #[must_use]
    pub fn system_uuid(mut self, uuid: impl Into<String>) -> Self {
        self.system_uuid = Some(uuid.into());
        self
    }

    /// Adds a free string.
    #[must_use]
    pub fn oem_string(mut self, string: impl Into<String>) -> Self {
        self.oem_strings.push(string.into());
        self
    }
}
