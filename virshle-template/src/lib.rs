#![doc = include_str!("../README.md")]
//!
//! # In detail
//!
//! Virshle's configuration: TOML text to checked, typed templates of virtual machines.
//!
//! A configuration is a file that a person wrote. This crate reads it, and answers with values
//! that are right, or with every mistake at once: file, line, column, the line itself, what was
//! expected, and the name that was likely meant. It touches no disk image, no socket and no
//! process; all it opens is the file.
//!
//! # Model
//!
//! - A [`Config`] is one file: settings of the node, its network and its hypervisor, each with a
//!   default, and any number of templates. [`Config::locate`] knows where it usually is.
//! - A [`VmTemplate`] is what any number of machines are created from: [`Vcpus`], [`Memory`],
//!   [`Boot`], [`DiskTemplate`]s and [`NetTemplate`]s. Paths in it are absolute.
//! - A [`Mistake`] is one thing that is wrong, and its place. One in a template spoils that
//!   template; one outside of them, or text that isn't TOML, spoils the file.
//! - A [`ByteSize`] is an amount of memory or disk space.
//! - [`UserData`] is another file: what a machine is given at its first boot.
//!
//! # Limitations
//!
//! - Whether the files that a template names are there is not looked at, nor whether the host has
//!   so much memory: that is known when a machine is created.
//! - A file is at most 1 MiB of UTF-8.
//! - In a file that isn't TOML, a line that was not understood is reported once; what else is wrong
//!   with it is reported once it is understood.
//!
//! # Example
//!
//! ```
//! use std::path::Path;
//! use virshle_template::{ByteSize, Config};
//!
//! let text = r#"
//! [[template.vm]]
//! name = "xs"
//! vcpu = 1
//! vram = 2
//!
//! [[template.vm.disk]]
//! name = "os"
//! path = "~/Iso/nixos.efi.img"
//! size = "50G"
//!
//! [[template.vm.net]]
//! name = "main"
//! [template.vm.net.type.vhost]
//! "#;
//! let config = Config::from_toml(text, Path::new("/etc/virshle/config.toml"))?;
//! let xs = config.template("xs")?;
//! assert_eq!(xs.memory.size, ByteSize::from_bytes(2 << 30));
//!
//! let wrong = text.replace("vcpu", "vcpus");
//! let config = Config::from_toml(&wrong, Path::new("/etc/virshle/config.toml"))?;
//! let mistakes = config.template("xs").unwrap_err().to_string();
//! assert!(mistakes.contains("did you mean \"vcpu\"?"), "{mistakes}");
//! # Ok::<(), virshle_template::TemplateError>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod boot;
mod caller;
mod catalogue;
mod config;
mod cpu_set;
mod device;
mod disk;
mod distrust;
mod error;
mod first_user;
mod guest_network;
mod hypervisor;
mod limits;
mod locate;
mod mac;
mod memory;
mod mistake;
mod name;
mod net;
mod network;
mod node;
mod path;
mod public_key;
mod publish;
mod rate;
mod restart;
#[cfg(test)]
#[path = "../tests/schema/mod.rs"]
mod schema_check;
mod section;
mod size;
mod source;
mod static_address;
mod subnet;
mod suggestion;
#[cfg(test)]
mod testing;
mod time;
mod user_data;
mod user_range;
mod vcpus;
mod vm;
mod yaml;
mod yaml_node;
mod yaml_scalar;
mod yaml_text;

pub use boot::Boot;
pub use catalogue::CatalogueEntry;
pub use config::Config;
pub use cpu_set::{CpuSet, InvalidCpuSet};
pub use disk::{CloneMode, DiskTemplate};
pub use distrust::Distrust;
pub use error::TemplateError;
pub use hypervisor::{Confine, HypervisorSettings};
pub use limits::{Limit, Limits};
pub use memory::Memory;
pub use mistake::Mistake;
pub use net::{NetKind, NetTemplate};
pub use network::{Datapath, NetworkSettings};
pub use node::{NodeSettings, Systemd};
pub use public_key::is_public_key;
pub use publish::{InvalidPublish, Protocol, Publish};
pub use rate::{BitRate, InvalidRate};
pub use restart::{InvalidRestartPolicy, RestartPolicy};
pub use size::{ByteSize, InvalidSize};
pub use static_address::StaticAddress;
pub use subnet::{Subnet, Subnet6};
pub use user_data::{MAX_USER_DATA, User, UserData, UserSettings};
pub use user_range::UserRange;
pub use vcpus::Vcpus;
pub use vm::VmTemplate;
