//! What the tests of this workspace stand on: real parts in private (Open vSwitch, loop
//! filesystems, network namespaces) and fakes for what a real part can't be made to do on demand.
//!
//! Everything made here is undone when its guard is dropped, also when a test fails.

mod kernel;
mod requirement;

pub use kernel::TestKernel;
pub use requirement::{Part, has, need};
