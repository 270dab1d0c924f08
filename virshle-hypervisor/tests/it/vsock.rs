//! The way to a guest that has no vsock driver.

use std::time::Duration;

use virshle_hypervisor::{HypervisorError, VsockConfig, connect_vsock};
use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::machine::Machine;

#[test_on(Ch, Kvm)]
fn kvm_a_guest_without_driver_is_silent_or_refuses() {
    let machine = Machine::start();
    let socket = machine.path("vsock");
    let config = machine.config(&TestKernel::halt()).vsock(VsockConfig::new(3, &socket));
    machine.boot(&config);
    let error = connect_vsock(&socket, 22, Duration::from_millis(200)).unwrap_err();
    assert!(
        matches!(error, HypervisorError::VsockSilent { .. } | HypervisorError::VsockRefused { .. }),
        "{error:?}"
    );
}
