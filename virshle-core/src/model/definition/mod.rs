//! The definition of a machine: `vm.toml`, complete in itself.
//!
//! It is written from a template, and what happens to the template later does not reach it. Longer than
//! other files: one structure, each of whose keys has its docs and its default.

mod boot;
mod disk;
pub(crate) mod error;
mod flag;
pub(crate) mod head;
mod limits;
mod managed_net;
pub(crate) mod net;
pub(crate) mod text;
mod user_net;

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use virshle_template::{Mistake, RestartPolicy};

pub use boot::Boot;
pub use disk::DiskDefinition;
pub use limits::LimitsDefinition;
pub use managed_net::ManagedNet;
pub use net::{InterfaceAddress, InvalidInterfaceAddress, NetDefinition, NetKind};
pub use user_net::UserNet;

use crate::fs::error::FileError;
use crate::fs::file::{open_regular, read_bounded};
use crate::model::definition::error::DefinitionError;
use crate::model::definition::flag::is_false;
use crate::model::name::VmName;
use crate::model::timestamp::Timestamp;

/// A machine as `vm.toml` holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Definition {
    /// The version of this format: [`Definition::FORMAT`] when written by this crate.
    pub format: u32,
    /// The short number people type; never given twice on one node.
    pub id: u64,
    /// The identity that lasts.
    pub uuid: Uuid,
    /// The name.
    pub name: VmName,
    /// The name of the template it was created from.
    pub template: String,
    /// When it was created.
    pub created: Timestamp,
    /// vCPUs at boot.
    pub vcpus: u32,
    /// vCPUs that can be reached by hotplug.
    pub max_vcpus: u32,
    /// Memory at boot, in bytes.
    pub memory_bytes: u64,
    /// Memory that can be reached by hotplug, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// Memory is taken from the host's hugepages.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hugepages: bool,
    /// Started by `v vm start --autostart`, which the host runs when it boots.
    #[serde(default, skip_serializing_if = "is_false")]
    pub autostart: bool,
    /// Its place among those that start with the host: lower ones come first, those without a number
    /// last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
    /// How long those of later places wait once it runs, in seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub delay_seconds: u64,
    /// What happens when it has ended without being asked to.
    #[serde(default, skip_serializing_if = "is_no_restart", with = "text")]
    pub restart: RestartPolicy,
    /// The guest is reset when it does not feed its watchdog any longer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub watchdog: bool,
    /// The guest may run guests itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nested: bool,
    /// The account that the machine is entered by, if its seed creates one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<String>,
    /// What the machine boots.
    pub boot: Boot,
    /// How much of the host it may take.
    #[serde(default, skip_serializing_if = "LimitsDefinition::is_default")]
    pub limits: LimitsDefinition,
    /// The disks, in the order in which the guest sees them.
    #[serde(default, rename = "disk", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskDefinition>,
    /// The network interfaces.
    #[serde(default, rename = "net", skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<NetDefinition>,
}

impl Definition {
    /// The version of the format that this crate writes, and the newest that it reads.
    pub const FORMAT: u32 = 1;

    /// Reads the definition in `path`.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::File`] if it can't be read, [`DefinitionError::Broken`] with the line if it is
    /// none, [`DefinitionError::NewerFormat`] if a later version wrote it.
    pub fn read(path: &Path) -> Result<Self, DefinitionError> {
        Self::from_toml(&read(path)?, path)
    }

    /// The definition in `text`, the content of `path`.
    ///
    /// # Errors
    ///
    /// As [`Definition::read`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, DefinitionError> {
        let newer = |format| {
            Err(DefinitionError::NewerFormat { path: path.to_owned(), format, known: Self::FORMAT })
        };
        match toml::from_str::<Self>(text) {
            Ok(definition) if definition.format <= Self::FORMAT => Ok(definition),
            Ok(definition) => newer(definition.format),
            Err(error) => {
                // A newer format may well not fit this one's fields: the version decides first.
                #[derive(Deserialize)]
                struct Version {
                    format: u32,
                }
                match toml::from_str::<Version>(text) {
                    Ok(version) if version.format > Self::FORMAT => newer(version.format),
                    _ => {
                        let span = error.span().unwrap_or(0..0);
                        let mistake = Mistake::at(path, text, span, error.message());
                        Err(DefinitionError::Broken { mistake: Box::new(mistake) })
                    }
                }
            }
        }
    }

    /// The definition `text`, if it is one; see [`Definition::from_toml`] for why not.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        toml::from_str::<Self>(text).ok().filter(|definition| definition.format <= Self::FORMAT)
    }

    /// The definition as the text of `vm.toml`.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::Encode`], which no definition that this crate writes provokes.
    pub fn to_toml(&self) -> Result<String, DefinitionError> {
        toml::to_string(self).map_err(|source| DefinitionError::Encode { source })
    }
}

/// The most bytes of a definition: one of hundreds of disks and networks stays far below.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The text of the definition in `path`, which is a file: nothing else is waited for, nor followed.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    open_regular(path).and_then(|file| read_open(&file)).map_err(FileError::reading(path))
}

/// The text of the definition that is open as `file`.
pub(crate) fn read_open(file: &File) -> io::Result<String> {
    let bytes = read_bounded(file, MAX_BYTES)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_no_restart(policy: &RestartPolicy) -> bool {
    *policy == RestartPolicy::No
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use proptest::option;
    use proptest::prelude::*;

    use virshle_disk::{CloneMethod, Format};
    use virshle_net::MacAddr;

    use super::*;
    use crate::model::definition::head::Head;

    fn boots() -> impl Strategy<Value = Boot> {
        let path = || any::<String>().prop_map(PathBuf::from);
        prop_oneof![
            option::of(path()).prop_map(|path| Boot::Firmware { path }),
            (path(), option::of(path()), option::of(any::<String>()))
                .prop_map(|(path, initramfs, cmdline)| Boot::Kernel { path, initramfs, cmdline }),
        ]
    }

    fn nets() -> impl Strategy<Value = NetDefinition> {
        let kind = prop_oneof![
            Just(NetKind::User),
            Just(NetKind::Vhost),
            Just(NetKind::Tap),
            Just(NetKind::Bridge),
            Just(NetKind::Macvtap)
        ];
        let texts = ("[^/\0]{3,20}", any::<[u8; 6]>(), any::<String>(), any::<String>());
        let trunk = proptest::collection::vec(any::<u16>(), 0..3);
        let numbers = (option::of(any::<u16>()), trunk, option::of(any::<u16>()));
        let addresses = proptest::collection::vec((any::<std::net::IpAddr>(), 0..=32_u8), 0..3);
        (kind, texts, numbers, addresses).prop_map(
            |(kind, (name, mac, bridge, port), (vlan, trunk, mtu_bytes), addresses)| {
                NetDefinition {
                    name,
                    kind,
                    mac: MacAddr::new(mac),
                    bridge,
                    port,
                    vlan,
                    trunk,
                    trust: false,
                    mtu_bytes,
                    rate_in_bits: mtu_bytes.map(|mtu| u64::from(mtu) << 20),
                    rate_out_bits: vlan.map(u64::from),
                    queues: vlan,
                    addresses: addresses
                        .into_iter()
                        .map(|(ip, prefix_len)| InterfaceAddress { ip, prefix_len })
                        .collect(),
                    user: (kind == NetKind::User).then(|| UserNet {
                        publish: vec![
                            "[::1]:2222:22".parse().unwrap(),
                            "5353:53/udp".parse().unwrap(),
                        ],
                        ..UserNet::numbered(vlan.unwrap_or(2))
                    }),
                    managed: (kind == NetKind::Tap).then(|| ManagedNet {
                        address: "192.168.177.35".parse().unwrap(),
                        publish: vec!["127.0.0.1:8080:80".parse().unwrap()],
                    }),
                }
            },
        )
    }

    fn policies() -> impl Strategy<Value = RestartPolicy> {
        let policies = [RestartPolicy::No, RestartPolicy::OnFailure, RestartPolicy::Always];
        proptest::sample::select(policies.to_vec())
    }

    fn limits() -> impl Strategy<Value = LimitsDefinition> {
        let weights = (option::of(any::<u16>()), option::of(any::<u16>()));
        let numbers =
            (option::of(any::<u32>()), option::of(0..1_u64 << 60), option::of(any::<u32>()));
        let cpus = option::of(proptest::sample::select(vec!["0", "0-3,8", "8191"]));
        (weights, numbers, cpus).prop_map(|((cpu_weight, io_weight), numbers, cpus)| {
            let (cpu_limit_percent, memory_overhead_bytes, pids) = numbers;
            let cpu_affinity = cpus.map(|cpus| cpus.parse().unwrap());
            LimitsDefinition {
                cpu_weight,
                cpu_limit_percent,
                cpu_affinity,
                memory_overhead_bytes,
                io_weight,
                pids,
            }
        })
    }

    proptest! {
        #[test]
        fn any_definition_comes_back_through_the_file(
            // TOML's integers are signed.
            (id, memory_bytes) in (0..=i64::MAX as u64, 0..=i64::MAX as u64),
            (template, created) in (any::<String>(), 0..253_402_300_800_u64),
            (vcpus, autostart) in (any::<u32>(), any::<bool>()),
            (max_memory_bytes, ssh_user) in (option::of(0..1_u64 << 60), option::of(any::<String>())),
            (boot, net) in (boots(), nets()),
            (order, delay_seconds, watchdog) in (option::of(any::<u32>()), 0..=3600_u64, any::<bool>()),
            (restart, limits) in (policies(), limits()),
        ) {
            let created = humantime::format_rfc3339_seconds(
                std::time::UNIX_EPOCH + std::time::Duration::from_secs(created),
            );
            let created: Timestamp = created.to_string().parse().unwrap();
            let definition = Definition {
                id, memory_bytes, max_memory_bytes, template, created, vcpus, autostart, ssh_user,
                boot, order, delay_seconds, watchdog, restart, limits, nets: vec![net.clone(), net], ..example()
            };
            let text = definition.to_toml().unwrap();
            let path = Path::new("vm.toml");
            prop_assert_eq!(&Definition::from_toml(&text, path).unwrap(), &definition);
            // Listings read the beginning alone.
            let head = Head::from_toml(&text, path).unwrap();
            prop_assert_eq!(head.template, definition.template);
            prop_assert_eq!((head.id, head.autostart), (id, autostart));
        }
    }

    pub(crate) fn example() -> Definition {
        Definition {
            format: Definition::FORMAT,
            id: 1,
            uuid: Uuid::from_u128(7),
            name: "buzz_matala".parse().unwrap(),
            template: "xs".into(),
            created: "2026-11-23T06:05:00Z".parse().unwrap(),
            vcpus: 1,
            max_vcpus: 1,
            memory_bytes: 2 << 30,
            max_memory_bytes: None,
            hugepages: false,
            autostart: false,
            order: None,
            delay_seconds: 0,
            restart: RestartPolicy::No,
            watchdog: false,
            nested: false,
            ssh_user: None,
            boot: Boot::Firmware { path: None },
            limits: LimitsDefinition::default(),
            disks: vec![DiskDefinition {
                name: "os".into(),
                format: Format::Raw,
                size_bytes: 50 << 30,
                clone: CloneMethod::Reflink,
                source: Some("/images/nixos.img".into()),
                backing: Vec::new(),
                readonly: false,
                queues: None,
            }],
            nets: vec![NetDefinition {
                name: "main".into(),
                kind: NetKind::Vhost,
                mac: "52:54:00:00:00:01".parse().unwrap(),
                bridge: "br0".into(),
                port: "vm1-main".into(),
                vlan: Some(12),
                trunk: Vec::new(),
                trust: false,
                mtu_bytes: None,
                rate_in_bits: None,
                rate_out_bits: None,
                queues: None,
                addresses: Vec::new(),
                user: None,
                managed: None,
            }],
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let definition = example();
        let text = definition.to_toml().unwrap();
        assert_eq!(
            Definition::from_toml(&text, Path::new("vm.toml")).unwrap(),
            definition,
            "{text}"
        );
    }

    #[test]
    fn a_newer_format_is_refused_by_its_version() {
        for text in ["format = 2\n", "format = 9\nid = \"not a number\"\n"] {
            let error = Definition::from_toml(text, Path::new("vm.toml")).unwrap_err();
            assert!(matches!(error, DefinitionError::NewerFormat { .. }), "{error:?}");
        }
    }

    #[test]
    fn an_older_format_is_read_and_unknown_keys_are_passed_over() {
        let text = example().to_toml().unwrap();
        let older = text.replace("format = 1", "format = 0\ncolour = \"red\"");
        let read = Definition::from_toml(&older, Path::new("vm.toml")).unwrap();
        assert_eq!(read, Definition { format: 0, ..example() });
        assert_eq!(Head::from_toml(&older, Path::new("vm.toml")).unwrap().id, 1);
    }

    #[test]
    fn names_lead_nowhere_else() {
        let text = example().to_toml().unwrap();
        for (mine, names) in
            [("\"os\"", ["../os", "/etc/passwd", ""]), ("\"main\"", [".", "..", "a/b"])]
        {
            for name in names {
                let text = text.replace(&format!("name = {mine}"), &format!("name = {name:?}"));
                let error = Definition::from_toml(&text, Path::new("vm.toml")).unwrap_err();
                let DefinitionError::Broken { mistake } = &error else { panic!("{error:?}") };
                assert!(mistake.message.contains("cannot be the name of a file"), "{mistake}");
            }
        }
    }

    #[test]
    fn what_is_no_file_or_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |path: &Path| matches!(read(path), Err(FileError::Read { .. }));
        assert!(refused(directory.path()));
        let long = directory.path().join("long");
        std::fs::write(&long, "#".repeat(2 << 20)).unwrap();
        assert!(refused(&long));
    }

    #[test]
    fn a_misspelt_value_is_refused_with_its_line() {
        let text = example().to_toml().unwrap();
        for (right, wrong) in [
            ("clone = \"reflink\"", "clone = \"reflinks\""),
            ("format = \"raw\"", "format = \"RAW\""),
            ("mac = \"52:54:00:00:00:01\"", "mac = \"52:54:00:00:00\""),
            ("created = \"2026-11-23T06:05:00Z\"", "created = \"yesterday\""),
            ("kind = \"vhost\"", "kind = \"vhosts\""),
            ("vlan = 12", "vlan = 12\naddresses = [\"192.0.2.1\"]"),
        ] {
            assert!(text.contains(right), "{text}");
            let broken = text.replace(right, wrong);
            let error = Definition::from_toml(&broken, Path::new("/root/vm.toml")).unwrap_err();
            let DefinitionError::Broken { mistake } = &error else { panic!("{error:?}") };
            let wrong = wrong.lines().last().unwrap();
            assert_eq!(mistake.source_line, wrong, "{mistake}");
            let line = broken.lines().position(|line| line == wrong).unwrap() + 1;
            assert_eq!(mistake.line, line);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn garbage_is_an_error_that_names_the_file() {
        for text in ["", "format = 1", "\0", "format = \"x\""] {
            let error = Definition::from_toml(text, Path::new("/root/vm.toml")).unwrap_err();
            assert!(error.to_string().contains("/root/vm.toml"), "{error}");
        }
    }
}
