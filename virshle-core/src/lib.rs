//! What a virtual machine is, and its life: create, start, stop, remove, list.
//!
//! A [`Node`] is a host as a home of machines: a folder, and the words of a configuration. A
//! [`Vm`] is one machine: a folder with its definition and its disks and, while it runs, one
//! cloud-hypervisor process and a port of Open vSwitch for each of its network interfaces.
//! There is no daemon and no database: every call reads the folder, does one thing, and is done.
//! Calls from any number of processes and threads may come at once: a machine has one writer at a
//! time, and readers never see half a machine.
//!
//! This crate composes four others, which are useful alone and known here by shorter names:
//! [`template`], [`disk`], [`net`] and [`hypervisor`].
//!
//! # Limitations
//!
//! - Linux on x86_64 and aarch64, cloud-hypervisor 44 or later, Open vSwitch for networks.
//! - Blocking calls. Every wait has a deadline; [`in_parallel`] works on many machines at once, and a
//!   [`Starter`] starts them for less.
//! - Machines of one host: nothing here moves one to another.
//!
//! # Example
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use virshle_core::{CreateRequest, Node, StartOptions, StopRequest, template::Config};
//!
//! let config = Config::load(&Config::locate(None)?)?;
//! let node = Node::new(config, None);
//! for vm in node.create(&CreateRequest::new("xs").count(3), &|_| {})? {
//!     let vm = vm?;
//!     vm.start(&StartOptions::default())?;
//!     println!("{} is {}", vm.name(), vm.state());
//!     vm.stop(&StopRequest::power_button(Duration::from_secs(30)))?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod address;
mod bounded_log;
mod bulk;
mod caller_keys;
mod change;
mod check;
mod confine;
mod console;
mod create;
mod definition;
mod error;
mod guest_stream;
mod guest_word;
mod image;
mod init;
mod known_hosts;
mod kvm;
mod last_exit;
mod lease;
mod lock;
mod name;
mod network;
mod node;
mod node_info;
mod orphan;
mod provision;
mod relay;
mod remove;
mod run;
mod selector;
mod shared_ports;
mod shelf;
mod sightings;
mod socket_watch;
mod source_file;
mod ssh;
mod ssh_config;
mod ssh_word;
mod start;
mod starter;
mod status;
mod stop;
mod store;
mod tcp_race;
mod vm;
mod vm_info;
mod vm_state;
mod vm_watch;
mod vmm_config;
mod wait;

pub use address::{Address, AddressSource};
pub use bounded_log::LOG_CUT;
pub use bulk::in_parallel;
pub use caller_keys::caller_user_data;
pub use change::{Change, Force};
pub use check::{Finding, Level, NodeCheck};
pub use console::Console;
pub use create::{CopyProgress, CreateRequest};
pub use definition::{Boot, Definition, DiskDefinition, NetDefinition, NetKind};
pub use error::{CoreError, ErrorKind};
pub use guest_stream::{GuestStream, Route};
pub use image::{
    Checksum, DownloadError, Expected, ImageInfo, ImageListing, ImageName, ImportFormat,
    ImportProgress, ImportRequest, ImportSource, ImportStep, InvalidChecksum, InvalidImageName,
    InvalidSource, UnfinishedImport,
};
pub use init::{InitMode, InitOutcome, InitStep};
pub use known_hosts::HostKey;
pub use name::{InvalidName, VmName};
pub use node::{Listing, Node, VmSummary};
pub use node_info::{Machines, NodeInfo};
pub use orphan::{Orphan, OrphanKind};
pub use provision::{Provision, read_user_data};
pub use run::LastExit;
pub use selector::{Selection, Selector};
pub use sightings::Sightings;
pub use ssh::{SSH_PORT, SshRequest};
pub use ssh_config::{SshConfig, machine_of_host};
pub use start::StartOptions;
pub use starter::Starter;
pub use stop::StopRequest;
pub use vm::Vm;
pub use vm_info::{DiskInfo, NetInfo, VmInfo};
pub use vm_state::{UnknownState, VmState};
pub use wait::Awaited;

#[doc(inline)]
pub use virshle_disk as disk;
#[doc(inline)]
pub use virshle_hypervisor as hypervisor;
#[doc(inline)]
pub use virshle_net as net;
#[doc(inline)]
pub use virshle_template as template;
