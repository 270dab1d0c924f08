//! What a virtual machine is, and its life: create, start, stop, remove, list.
//!
//! A [`Node`] is a host as a home of machines: a folder, and the words of a configuration. A
//! [`Vm`] is one machine: a folder with its definition and its disks and, while it runs, one
//! cloud-hypervisor process and a port of Open vSwitch for each of its network interfaces.
//! There is no daemon and no database: every call reads the folder, does one thing, and is done.
//! Calls from any number of processes and threads may come at once: a machine has one writer at a
//! time, and readers never see half a machine.
//!
//! This crate composes five others, which are useful alone and known here by shorter names:
//! [`template`], [`disk`], [`image`], [`net`] and [`hypervisor`].
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
mod error;
mod fs;
mod guest;
mod hardware;
mod host;
mod images;
mod life;
mod machine;
mod model;
mod observe;
mod power;
mod provision;
mod store;

pub use address::host_addresses::Sightings;
pub use address::{Address, AddressSource};
pub use error::{CoreError, ErrorKind};
pub use fs::in_parallel::in_parallel;
pub use guest::console::Console;
pub use guest::ssh::known_hosts::HostKey;
pub use guest::ssh::{SSH_PORT, SshRequest};
pub use guest::stream::{GuestStream, Route};
pub use guest::wait::Awaited;
pub use host::check::{Finding, Level, NodeCheck};
pub use host::info::{Machines, NodeInfo};
pub use host::init::{InitMode, InitOutcome, InitStep};
pub use host::repair::{Orphan, OrphanKind};
pub use host::ssh_config::{SshConfig, machine_of_host};
pub use life::create::{CopyProgress, CreateRequest};
pub use machine::node::{Listing, Node, VmSummary};
pub use machine::vm::Vm;
pub use model::change::{Change, Force};
pub use model::definition::{Boot, Definition, DiskDefinition, NetDefinition, NetKind};
pub use model::name::{InvalidName, VmName};
pub use model::selector::{Selection, Selector};
pub use model::state::{UnknownState, VmState};
pub use observe::info::{DiskInfo, NetInfo, VmInfo};
pub use observe::logs::LOG_CUT;
pub use power::start::StartOptions;
pub use power::start::many::Starter;
pub use power::stop::StopRequest;
pub use provision::caller_keys::caller_user_data;
pub use provision::{Provision, read_user_data};
pub use store::run_record::LastExit;

pub use virshle_image::{
    Checksum, DownloadError, Expected, ImageError, ImageInfo, ImageListing, ImageName,
    ImportFormat, ImportProgress, ImportRequest, ImportSource, ImportStep, InvalidChecksum,
    InvalidImageName, InvalidSource, UnfinishedImport,
};

#[doc(inline)]
pub use virshle_disk as disk;
#[doc(inline)]
pub use virshle_hypervisor as hypervisor;
#[doc(inline)]
pub use virshle_image as image;
#[doc(inline)]
pub use virshle_net as net;
#[doc(inline)]
pub use virshle_template as template;
