//! Fixtures for the tests of this workspace: real parts in private (Open vSwitch, loop
//! filesystems, network namespaces) and fakes for what a real part can't be made to do on
//! demand.
//!
//! Everything made here is undone when its guard is dropped, also when a test fails.

mod cloud_init;
mod cloud_init_reader;
mod deaf;
mod failure;
mod fake_hypervisor;
mod fake_ovsdb;
mod fake_systemd;
mod fake_vsock;
mod filesystem;
mod frame;
mod guest_nic;
mod hijack;
mod hugepages;
mod kernel;
mod namespace;
mod networkd;
mod open_vswitch;
mod requirement;
mod socket_server;
mod sshd;
#[expect(unsafe_code, reason = "a namespace for one thread, ptrace: calls that Rust can't check")]
mod sys;
mod tap;
mod web_server;

pub use cloud_init::CloudInitGuest;
pub use cloud_init_reader::{CloudInitReader, Rendered, seed_file};
pub use deaf::{DeafAddress, stale_socket};
pub use failure::{Failure, While};
pub use fake_hypervisor::{FakeAnswer, FakeHypervisor, FakeProgram, FakeRequest};
pub use fake_ovsdb::{FakeOvsdb, OvsdbAct};
pub use fake_systemd::{BusAct, BusCall, FakeSystemd};
pub use fake_vsock::FakeVsock;
pub use filesystem::{FuseFilesystem, LoopFilesystem};
pub use frame::{BROADCAST, Frame};
pub use guest_nic::GuestNic;
pub use hijack::{Attempt, Hijacked, Outcome, VMM_THREADS, hijack, wait_for_threads};
pub use hugepages::{Hugepages, hugepages};
pub use kernel::TestKernel;
pub use namespace::{MountNamespace, NetNamespace};
pub use networkd::networkd_routes;
pub use open_vswitch::OpenVswitch;
pub use requirement::{Part, has, kea_lease_commands, need, passt};
pub use sshd::Sshd;
pub use tap::TestTap;
pub use web_server::{TestAuthority, WebFile, WebRequest, WebServer};
