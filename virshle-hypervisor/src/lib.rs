#![doc = include_str!("../README.md")]
//!
//! # In detail
//!
//! One cloud-hypervisor process: how it is started and found again, what it is asked and sent,
//! how it ended.
//!
//! [cloud-hypervisor](https://www.cloudhypervisor.org) runs one virtual machine to a process and
//! is driven by a REST API on a Unix socket. This crate is for a program that runs such machines
//! and may end before them.
//!
//! The model in short:
//! - [`Launch`] starts a detached process: it lives on when its starter ends.
//! - [`Vmm`] is a running process, found by its API socket alone, without a pid file. Dropping it
//!   leaves the process alone; [`KillOnDrop`] ends one whose start fails half-way.
//! - A [`Cage`] keeps it, with all its threads, from everything but its machine.
//! - [`Client`] calls every endpoint of the API, with deadlines, and passes descriptors.
//! - [`VmConfig`] is what a machine is made of, and [`VmConfig::command_line`] the same for people.
//! - [`EventReader`] and [`exit_reason`] report what happened, [`connect_vsock`] reaches the guest.
//!
//! # Limitations
//!
//! Linux on x86_64 and aarch64. cloud-hypervisor v44 or newer; the types follow v53, and older
//! ones ignore what they don't know. Calls block the thread. A program that is a subreaper, or the
//! first process of a container, has to reap the processes it started, as it has any orphan.
//! Whether a guest that was asked to power off does so can't be known before the process ends.
//!
//! # Example
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//!
//! use virshle_hypervisor::{
//!     CpusConfig, DiskConfig, ImageType, Launch, MemoryConfig, PayloadConfig, VmConfig, Vmm,
//! };
//!
//! let firmware = PayloadConfig::firmware("/usr/share/cloud-hypervisor/CLOUDHV.fd");
//! let config = VmConfig::new(CpusConfig::new(2), MemoryConfig::new(1 << 30), firmware)
//!     .disk(DiskConfig::new("/srv/web/os", ImageType::Raw));
//!
//! let socket = Path::new("/srv/web/ch.sock");
//! let vmm = Launch::new(Path::new("cloud-hypervisor"), socket)
//!     .log_file("/srv/web/ch.log")
//!     .event_file("/srv/web/events.json")
//!     .spawn()?
//!     .kill_on_drop();
//! let client = vmm.client(Duration::from_secs(5));
//! client.create(&config)?;
//! client.within(Duration::from_secs(30)).boot()?;
//! // It runs. Had anything failed, the process would be gone by now; from here on it stays.
//! let vmm = vmm.keep();
//! println!("process {}", vmm.pid());
//!
//! // Later, in another program:
//! if let Some(vmm) = Vmm::find(socket, Path::new("cloud-hypervisor"))? {
//!     let client = vmm.client(Duration::from_secs(5));
//!     client.power_button()?;
//!     if !vmm.wait_exit(Duration::from_secs(30)) {
//!         vmm.kill()?;
//!     }
//! }
//! # Ok::<(), virshle_hypervisor::HypervisorError>(())
//! ```

#![deny(missing_docs)]

mod arguments;
mod boot;
mod cage;
mod client;
mod command_line;
mod confine;
mod console;
mod cpus;
mod deadline;
mod disk;
mod error;
mod event;
mod exit;
mod firmware;
mod hotplug;
mod http;
mod kill_on_drop;
mod kvm;
mod landlock;
mod launch;
mod log;
mod log_keeper;
mod memory;
mod migration;
mod net;
mod options;
mod payload;
mod platform;
mod program;
mod program_version;
mod qcow2_fault;
mod rng;
mod snapshot;
#[expect(unsafe_code, reason = "credentials of a peer, landlock, KVM, what a forked child may do")]
mod sys;
mod terminal;
mod untrusted_file;
mod verbosity;
mod version;
mod vm_config;
mod vm_info;
mod vmm;
mod vsock;
mod watcher;
mod wrapper;

pub use boot::PendingBoot;
pub use cage::{
    CAGE_MIN_LANDLOCK_ABI, Cage, CageAccess, CageError, CageLack, Connections, Identity,
    PreparedCage, Strictness, View, cage_lacks, try_own_view,
};
pub use client::Client;
pub use console::{ConsoleConfig, ConsoleMode};
pub use cpus::{CpuAffinity, CpuTopology, CpusConfig};
pub use disk::{DiskConfig, ImageType};
pub use error::{Cause, HypervisorError};
pub use event::{Event, EventReader, last_events, read_events};
pub use exit::{ExitReason, exit_reason, exit_reason_of_machine, guest_panicked, watchdog_resets};
pub use firmware::{find_firmware, firmware_places, own_firmware_name};
pub use hotplug::Resize;
pub use http::AnswerError;
pub use kill_on_drop::KillOnDrop;
pub use kvm::max_vcpus;
pub use landlock::{
    LANDLOCK_MIN_ABI, LandlockAccess, LandlockRule, landlock_abi, landlock_available,
};
pub use launch::Launch;
pub use log::{failure_lines, is_routine, last_lines};
pub use log_keeper::{KEPT_LOG_CUT, KEPT_LOG_MAX, LogKeeper, keep_logs};
pub use memory::{HotplugMethod, MemoryConfig};
pub use migration::{MigrationMode, ReceiveMigration, SendMigration, TimeoutStrategy};
pub use net::{NetConfig, VhostMode};
pub use payload::PayloadConfig;
pub use platform::PlatformConfig;
pub use program::find_program;
pub use program_version::version;
pub use qcow2_fault::Qcow2Fault;
pub use rng::RngConfig;
pub use snapshot::{MemoryRestoreMode, Restore, RestoredNet};
pub use untrusted_file::{open_untrusted, open_untrusted_of, open_untrusted_with};
pub use verbosity::{Seccomp, Verbosity};
pub use version::Version;
pub use vm_config::VmConfig;
pub use vm_info::{Counters, Device, PciDevice, Ping, VmInfo, VmState};
pub use vmm::Vmm;
pub use vsock::{VsockConfig, connect_vsock};
pub use wrapper::script_without_exec;
