//! The definition of a machine: `vm.toml`, complete in itself.
//!
//! It is made once, from a template; what happens to the template later does not reach it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::error::CoreError;
use crate::model::name::VmName;

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
    /// The name of the template it was made from.
    pub template: String,
    /// When it was made: RFC 3339, UTC.
    pub created: String,
    /// vCPUs at boot.
    pub vcpus: u32,
    /// vCPUs that can be reached by hotplug.
    pub max_vcpus: u32,
    /// Memory at boot, in bytes.
    pub memory_bytes: u64,
    /// Memory that can be reached by hotplug, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// Memory is made of the host's hugepages.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hugepages: bool,
    /// Started by `v vm start --autostart`, which the host runs when it boots.
    #[serde(default, skip_serializing_if = "is_false")]
    pub autostart: bool,
    /// The account that the machine is entered by, if its seed made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<String>,
    /// What the machine boots.
    pub boot: Boot,
    /// The disks, in the order in which the guest sees them.
    #[serde(default, rename = "disk", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskDefinition>,
    /// The network interfaces.
    #[serde(default, rename = "net", skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<NetDefinition>,
}

/// What a machine boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Boot {
    /// A firmware, which finds a boot loader on the first disk.
    Firmware {
        /// The firmware's file; the node's own when unset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
    },
    /// A kernel, loaded directly.
    Kernel {
        /// The kernel's file.
        path: PathBuf,
        /// The initial file system.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        initramfs: Option<PathBuf>,
        /// The kernel's command line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cmdline: Option<String>,
    },
}

/// A disk of a machine. Its file is `disk/<name>` in the machine's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiskDefinition {
    /// The name, unique in the machine.
    #[serde(deserialize_with = "file_name")]
    pub name: String,
    /// `raw` or `qcow2`.
    pub format: String,
    /// What the guest sees, in bytes.
    pub size_bytes: u64,
    /// How it came to be: `reflink`, `copy`, `overlay`, `empty`, `seed`.
    pub clone: String,
    /// The image it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// The guest can't write to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub readonly: bool,
}

/// The kind of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NetKind {
    /// A vhost-user port of Open vSwitch: the packets never enter the host's kernel.
    Vhost,
    /// A tap device, which is a port of Open vSwitch.
    Tap,
    /// A macvtap device on an interface of the host.
    Macvtap,
}

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NetDefinition {
    /// The name, unique in the machine.
    #[serde(deserialize_with = "file_name")]
    pub name: String,
    /// The kind.
    pub kind: NetKind,
    /// The address the guest sees.
    pub mac: String,
    /// The bridge it is plugged into; for a macvtap the interface below it.
    pub bridge: String,
    /// The name of its port on the bridge, and of its device in the host's kernel if it has one.
    pub port: String,
    /// The VLAN, from 1 to 4094.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// The largest payload of a frame, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_bytes: Option<u16>,
    /// Static addresses, each with its prefix's length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

impl Definition {
    /// The version of the format that this crate writes, and the newest that it reads.
    pub const FORMAT: u32 = 1;

    /// Reads the definition in `path`.
    ///
    /// # Errors
    ///
    /// [`CoreError::Definition`] if it can't be read or understood, [`CoreError::NewerFormat`] if
    /// a later version wrote it.
    pub fn read(path: &Path) -> Result<Self, CoreError> {
        Self::from_toml(&read(path)?, path)
    }

    /// Understands `text`, the content of `path`.
    ///
    /// # Errors
    ///
    /// As [`Definition::read`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, CoreError> {
        match toml::from_str::<Self>(text) {
            Ok(definition) if definition.format <= Self::FORMAT => Ok(definition),
            Ok(definition) => Err(newer(path, definition.format)),
            Err(source) => {
                // A newer format may well not fit this one's fields: the version decides first.
                #[derive(Deserialize)]
                struct Version {
                    format: u32,
                }
                match toml::from_str::<Version>(text) {
                    Ok(version) if version.format > Self::FORMAT => {
                        Err(newer(path, version.format))
                    }
                    _ => Err(CoreError::Definition {
                        path: path.to_owned(),
                        source: Box::new(source),
                    }),
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
    /// [`CoreError::Encode`], which no definition that this crate makes provokes.
    pub fn to_toml(&self) -> Result<String, CoreError> {
        toml::to_string(self).map_err(|source| CoreError::Encode { source })
    }
}

/// The part of a definition that listings and selections need: all that stands before the first
/// table in `vm.toml`, which is a small part of the text.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Head {
    pub(crate) format: u32,
    pub(crate) id: u64,
    pub(crate) uuid: Uuid,
    pub(crate) name: VmName,
    pub(crate) template: String,
    pub(crate) vcpus: u32,
    pub(crate) memory_bytes: u64,
    #[serde(default)]
    pub(crate) autostart: bool,
}

impl Head {
    pub(crate) fn read(path: &Path) -> Result<Self, CoreError> {
        Self::from_toml(&read(path)?, path)
    }

    /// Understands the head of `text`, the content of `path`.
    pub(crate) fn from_toml(text: &str, path: &Path) -> Result<Self, CoreError> {
        match Self::parse(text) {
            Some(head) => Ok(head),
            // The whole text has the better explanation.
            None => Definition::from_toml(text, path).map(|definition| Self::of(&definition)),
        }
    }

    /// The head of the definition `text`, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text.find("\n[").unwrap_or(text.len());
        let head = match Self::from_lines(&text[..end]) {
            Some(head) => head,
            None => toml::from_str(&text[..end]).ok()?,
        };
        (head.format <= Definition::FORMAT).then_some(head)
    }

    /// Reads what this crate writes: a key to a line, and plain values. Whatever else a person may
    /// have made of it is `None`, and for a parser of TOML, which takes five times as long: a
    /// listing reads thousands.
    fn from_lines(text: &str) -> Option<Self> {
        let (mut format, mut id, mut vcpus, mut memory_bytes) = (None, None, None, None);
        let (mut uuid, mut name, mut template, mut autostart) = (None, None, None, None);
        for line in text.lines() {
            let (key, value) = line.split_once(" = ")?;
            // Each key stands there once.
            let is_new = match key {
                "format" => format.replace(u32::try_from(number(value)?).ok()?).is_none(),
                "id" => id.replace(number(value)?).is_none(),
                "uuid" => uuid.replace(plain(value)?.parse().ok()?).is_none(),
                "name" => name.replace(plain(value)?.parse().ok()?).is_none(),
                "template" => template.replace(plain(value)?.to_owned()).is_none(),
                "vcpus" => vcpus.replace(u32::try_from(number(value)?).ok()?).is_none(),
                "memory_bytes" => memory_bytes.replace(number(value)?).is_none(),
                "autostart" => autostart.replace(value.parse().ok()?).is_none(),
                "created" | "ssh_user" => plain(value).is_some(),
                "max_vcpus" | "max_memory_bytes" => number(value).is_some(),
                "hugepages" => matches!(value, "true" | "false"),
                _ => false,
            };
            if !is_new {
                return None;
            }
        }
        Some(Self {
            format: format?,
            id: id?,
            uuid: uuid?,
            name: name?,
            template: template?,
            vcpus: vcpus?,
            memory_bytes: memory_bytes?,
            autostart: autostart.unwrap_or(false),
        })
    }

    fn of(definition: &Definition) -> Self {
        Self {
            format: definition.format,
            id: definition.id,
            uuid: definition.uuid,
            name: definition.name.clone(),
            template: definition.template.clone(),
            vcpus: definition.vcpus,
            memory_bytes: definition.memory_bytes,
            autostart: definition.autostart,
        }
    }
}

/// The most bytes of a definition: one of hundreds of disks and networks stays far below.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The text of the definition in `path`, which is a file: nothing else is waited for, nor followed.
pub(crate) fn read(path: &Path) -> Result<String, CoreError> {
    let read = || -> io::Result<String> {
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        let not_a_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a file");
        let file = match File::options().read(true).custom_flags(flags).open(path) {
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(not_a_file());
            }
            other => other?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_a_file());
        }
        // Room for all of it at once: a listing reads thousands.
        let length = metadata.len().min(MAX_BYTES) + 1;
        let mut text = String::with_capacity(usize::try_from(length).unwrap_or_default());
        file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
        }
        Ok(text)
    };
    read().map_err(|source| CoreError::Read { path: path.to_owned(), source })
}

/// A name that becomes that of a file in the machine's folder, and of none elsewhere.
fn file_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let mut parts = Path::new(&name).components();
    let is_one = matches!(parts.next(), Some(Component::Normal(part)) if part == name.as_str());
    if is_one && parts.next().is_none() && !name.contains('\0') {
        return Ok(name);
    }
    Err(serde::de::Error::custom(format!("{name:?} cannot be the name of a file")))
}

/// A number as this crate writes it: TOML has other ways.
fn number(value: &str) -> Option<u64> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_digit())
        && (value.len() == 1 || !value.starts_with('0'));
    value.parse().ok().filter(|_| is_plain)
}

/// A text between quotes, with nothing in it that means something else.
fn plain(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = |c: char| c != '"' && c != '\\' && !c.is_control();
    text.chars().all(is_plain).then_some(text)
}

fn newer(path: &Path, format: u32) -> CoreError {
    CoreError::NewerFormat { path: path.to_owned(), format, known: Definition::FORMAT }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn boots() -> impl Strategy<Value = Boot> {
        let path = || any::<String>().prop_map(PathBuf::from);
        prop_oneof![
            option::of(path()).prop_map(|path| Boot::Firmware { path }),
            (path(), option::of(path()), option::of(any::<String>()))
                .prop_map(|(path, initramfs, cmdline)| Boot::Kernel { path, initramfs, cmdline }),
        ]
    }

    fn nets() -> impl Strategy<Value = NetDefinition> {
        let kind = prop_oneof![Just(NetKind::Vhost), Just(NetKind::Tap), Just(NetKind::Macvtap)];
        let texts = ("[^/\0]{3,20}", any::<String>(), any::<String>(), any::<String>());
        let numbers = (option::of(any::<u16>()), option::of(any::<u16>()));
        let addresses = proptest::collection::vec(any::<String>(), 0..3);
        (kind, texts, numbers, addresses).prop_map(
            |(kind, (name, mac, bridge, port), (vlan, mtu_bytes), addresses)| NetDefinition {
                name,
                kind,
                mac,
                bridge,
                port,
                vlan,
                mtu_bytes,
                addresses,
            },
        )
    }

    proptest! {
        #[test]
        fn any_definition_comes_back_through_the_file(
            // TOML's integers are signed.
            (id, memory_bytes) in (0..=i64::MAX as u64, 0..=i64::MAX as u64),
            (template, created) in (any::<String>(), any::<String>()),
            (vcpus, autostart) in (any::<u32>(), any::<bool>()),
            (max_memory_bytes, ssh_user) in (option::of(0..1_u64 << 60), option::of(any::<String>())),
            (boot, net) in (boots(), nets()),
        ) {
            let definition = Definition {
                id, memory_bytes, max_memory_bytes, template, created, vcpus, autostart, ssh_user,
                boot, nets: vec![net.clone(), net], ..example()
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
            created: "2026-11-23T06:05:00Z".into(),
            vcpus: 1,
            max_vcpus: 1,
            memory_bytes: 2 << 30,
            max_memory_bytes: None,
            hugepages: false,
            autostart: false,
            ssh_user: None,
            boot: Boot::Firmware { path: None },
            disks: vec![DiskDefinition {
                name: "os".into(),
                format: "raw".into(),
                size_bytes: 50 << 30,
                clone: "reflink".into(),
                source: Some("/images/nixos.img".into()),
                readonly: false,
            }],
            nets: vec![NetDefinition {
                name: "main".into(),
                kind: NetKind::Vhost,
                mac: "52:54:00:00:00:01".into(),
                bridge: "br0".into(),
                port: "vm1-main".into(),
                vlan: Some(12),
                mtu_bytes: None,
                addresses: Vec::new(),
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
    fn a_head_is_the_same_by_either_way_of_reading() {
        let mut definition = example();
        definition.autostart = true;
        definition.max_memory_bytes = Some(4 << 30);
        definition.hugepages = true;
        definition.ssh_user = Some("me".into());
        let text = definition.to_toml().unwrap();
        let head = &text[..text.find("\n[").unwrap()];
        let (quick, careful) = (Head::from_lines(head).unwrap(), toml::from_str::<Head>(head));
        assert_eq!(format!("{quick:?}"), format!("{:?}", careful.unwrap()));
        for odd in [
            head.replace("id = 1\n", "id = 0x1\n"),
            head.replace("id = 1\n", "id = +1\n"),
            head.replace("id = 1\n", "id = 01\n"),
            head.replace("id = 1\n", "id = 1 # one\n"),
            head.replace("id = 1\n", "id=1\n"),
            head.replace("id = 1\n", "id = 1\nid = 2\n"),
            head.replace("id = 1\n", "\nid = 1\n"),
            head.replace("id = 1\n", ""),
            head.replace("\"xs\"", "'xs'"),
            head.replace("\"xs\"", "\"x\\u0073\""),
            format!("{head}\nsomething = 1"),
        ] {
            assert!(Head::from_lines(&odd).is_none(), "{odd}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_its_version() {
        for text in ["format = 2\n", "format = 9\nid = \"not a number\"\n"] {
            let error = Definition::from_toml(text, Path::new("vm.toml")).unwrap_err();
            assert!(matches!(error, CoreError::NewerFormat { .. }), "{error:?}");
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
                let CoreError::Definition { source, .. } = &error else { panic!("{error:?}") };
                assert!(source.to_string().contains("cannot be the name of a file"), "{source}");
            }
        }
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vm.toml");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(Definition::read(&path), Err(CoreError::Read { .. })));
        assert!(matches!(Definition::read(folder.path()), Err(CoreError::Read { .. })));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        assert!(matches!(Head::read(&link), Err(CoreError::Read { .. })));
        let long = folder.path().join("long");
        std::fs::write(&long, "#".repeat(2 << 20)).unwrap();
        assert!(matches!(Head::read(&long), Err(CoreError::Read { .. })));
    }

    #[test]
    fn garbage_is_an_error_that_names_the_file() {
        for text in ["", "format = 1", "\0", "format = \"x\""] {
            let error = Definition::from_toml(text, Path::new("/root/vm.toml")).unwrap_err();
            assert!(error.to_string().contains("/root/vm.toml"), "{error}");
        }
    }
}
