#![doc = include_str!("../README.md")]
//!
//! # In detail
//!
//! What a virtual machine is, and its life: create, start, stop, remove, list.
//!
//! A [`Node`] is a host as a home of machines: a directory, and a configuration. A
//! [`Vm`] is one machine: a directory with its definition and its disks and, while it runs, one
//! cloud-hypervisor process and a port of Open vSwitch for each of its network interfaces.
//! There is no daemon and no database: every call reads the directory, does one thing, and is done.
//! Calls from any number of processes and threads may come at once: a machine has one writer at a
//! time, and readers never see half a machine.
//!
//! This crate composes five others, which are useful alone and known here by shorter names:
//! [`template`], [`disk`], [`image`], [`net`] and [`hypervisor`].
//!
//! # Limitations
//!
//! - Linux on x86_64 and aarch64, cloud-hypervisor 44 or later, Open vSwitch for networks.
//! - Blocking calls. Every wait has a deadline; [`in_parallel`] works on many machines at once, and
//!   [`start_many`] starts them for less than each by itself.
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
//! for created in node.create(&CreateRequest::new("xs").count(3), &|_| {})? {
//!     let vm = created.result?;
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
mod failure;
mod fs;
mod guest;
mod hardware;
mod host;
mod images;
mod life;
mod machine;
mod model;
mod network;
mod observe;
mod power;
mod provision;
mod store;
mod supervise;

pub use address::host_addresses::HostAddresses;
pub use address::{Address, AddressSource};
pub use error::CoreError;
pub use failure::{ErrorKind, Failure, Remedy, Verdict};
pub use fs::error::FileError;
pub use fs::in_parallel::in_parallel;
pub use guest::console::Console;
pub use guest::error::GuestError;
pub use guest::ssh::SshRequest;
pub use guest::ssh::known_hosts::{HostKey, HostKeyVerdict};
pub use guest::ssh::quote::QuoteError;
pub use guest::stream::{GuestStream, Route};
pub use guest::wait::awaited::{Awaited, SSH_PORT};
pub use hardware::confine::error::ConfineError;
pub use hardware::error::HardwareError;
pub use host::check::NodeCheck;
pub use host::check::finding::{Finding, Level};
pub use host::disconnected::Disconnected;
pub use host::heal::Healed;
pub use host::info::{Machines, NodeInfo};
pub use host::network::Restored;
pub use host::repair::{Orphan, OrphanKind};
pub use host::setup::error::SetupError;
pub use host::setup::packages::Packages;
pub use host::setup::pin::{InvalidPins, Part, Pin, Pins};
pub use host::setup::{Setup, SetupOutcome, SetupPlace, SetupRequest, SetupStep};
pub use host::ssh_config::{SshConfig, machine_of_host};
pub use host::step::{InitMode, InitOutcome, InitStep};
pub use images::{ImagesError, Pulled};
pub use life::create::of_image::{ImageChoice, built_in_sizes};
pub use life::create::progress::CopyProgress;
pub use life::create::{CreateRequest, Created};
pub use life::error::{CreateError, RemoveError};
pub use life::publish::Published;
pub use life::settings::{InvalidSetting, Setting};
pub use machine::capacity::{Oversize, oversize};
pub use machine::error::MachineError;
pub use machine::logs::LOG_CUT;
pub use machine::node::Node;
pub use machine::vm::Vm;
pub use model::change::{Change, Force};
pub use model::definition::error::DefinitionError;
pub use model::definition::{
    Boot, Definition, DiskDefinition, InterfaceAddress, InvalidInterfaceAddress, LimitsDefinition,
    ManagedNet, NetDefinition, NetKind, UserNet,
};
pub use model::name::{InvalidName, VmName};
pub use model::past_run::PastRun;
pub use model::restart_state::RestartInfo;
pub use model::run::LastExit;
pub use model::selector::{SelectError, Selection, Selector};
pub use model::state::{UnknownState, VmState};
pub use model::timestamp::{InvalidTimestamp, Timestamp};
pub use observe::capture::NetCapture;
pub use observe::error::NetworkError;
pub use observe::info::{DiskInfo, NetInfo, UserNetInfo, VmInfo};
pub use observe::listing::{Listing, VmIdentity, VmSummary};
pub use observe::network::{BridgeInfo, GuardCondition, GuardInfo, PortInfo, PortRole, Traffic};
pub use observe::trace::{
    NetTrace, TraceEnd, TraceExit, TraceProtocol, TraceRequest, TraceVerdict,
};
pub use observe::usage::Usage;
pub use power::error::{RestartError, StartError, StopError};
#[expect(deprecated, reason = "kept for programs that were written against it")]
pub use power::start::Starter;
pub use power::start::{StartOptions, start_many};
pub use power::stop::StopRequest;
pub use provision::caller_keys::caller_user_data;
pub use provision::error::ProvisionError;
pub use provision::{Provision, read_user_data};
pub use store::error::StoreError;
pub use supervise::boot::BootTurn;
pub use supervise::ended::{EndedOutcome, recorded_config};
pub use supervise::error::SuperviseError;
pub use supervise::restart::RestartOutcome;
pub use supervise::shutdown::ShutdownOutcome;

/// The snapshot of leases and neighbours that this host knows.
#[deprecated(since = "0.1.0", note = "is called `HostAddresses`")]
pub type Sightings = HostAddresses;

pub use virshle_image::{
    Catalogue, CatalogueImage, Checksum, DownloadError, Expected, ImageError, ImageInfo,
    ImageListing, ImageName, ImageReference, ImportFormat, ImportProgress, ImportRequest,
    ImportSource, ImportStep, InvalidChecksum, InvalidImageName, InvalidSource, UnfinishedImport,
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
