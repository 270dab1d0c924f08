//! Waits until a machine can be used: its guest runs, it has an address, its ssh server answers.

mod address;
pub(crate) mod awaited;
mod boot;
mod missing;
mod ssh;

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::address::host_addresses::HostAddressesWatch;
use crate::fs::deadline::{Deadline, timespec};
use crate::guest::error::GuestError;
use crate::guest::stream::{GuestStream, connect};
use crate::guest::wait::address::missing_address;
use crate::guest::wait::awaited::{Awaited, SSH_PORT};
use crate::guest::wait::boot::missing_boot;
use crate::guest::wait::missing::{LONGEST_ATTEMPT, SHORTEST_ATTEMPT, Wakeup};
use crate::guest::wait::ssh::{GREETING, await_greeting, missing_ssh};
use crate::machine::vm::Vm;
use crate::machine::watch::VmWatch;

/// The pauses before the guest is asked again: nothing shows that its ssh server is up.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
impl Vm {
    /// Waits until the machine is as far as `awaited`. A machine that doesn't run yet may be
    /// started meanwhile.
    ///
    /// # Errors
    ///
    /// [`GuestError::NotYet`] when the time is over, with what it was waiting for and what kept it;
    /// [`MachineError::Removed`](crate::MachineError::Removed) if the machine is removed meanwhile.
    pub fn wait(&self, awaited: Awaited, timeout: Duration) -> Result<(), GuestError> {
        wait(self, awaited, timeout)
    }

    /// Connects to `port` of the guest as [`connect`](Self::connect) does, and waits for it while the
    /// machine comes up: as long as it runs, and at most for `timeout`. `on_wait` is called once, when
    /// it has to be waited for, with each way that was tried.
    ///
    /// An ssh server is not up before it sends something: behind a socket that another process listens
    /// at, it may not have its keys yet.
    ///
    /// # Errors
    ///
    /// [`MachineError::WrongState`](crate::MachineError::WrongState) if the machine doesn't run, or
    /// doesn't any more; [`GuestError::Unreachable`] when the time is over.
    pub fn connect_when_up(
        &self,
        port: u16,
        timeout: Duration,
        on_wait: impl FnOnce(&[String]),
    ) -> Result<GuestStream, GuestError> {
        connect_when_up(self, port, timeout, on_wait)
    }
}

fn wait(vm: &Vm, awaited: Awaited, timeout: Duration) -> Result<(), GuestError> {
    let deadline = Deadline::after(timeout);
    let machine = VmWatch::new(vm)?;
    let addresses =
        (awaited == Awaited::Address).then(|| HostAddressesWatch::new(&vm.node().lease_places()));
    let mut pause = FIRST_PAUSE;
    loop {
        // Before the question, so that nothing is missed after it.
        machine.drain()?;
        if let Some(addresses) = &addresses {
            addresses.drain();
        }
        let missing = match awaited {
            Awaited::Boot => missing_boot(vm),
            Awaited::Address => missing_boot(vm).or_else(|| missing_address(vm)),
            Awaited::Ssh => missing_ssh(vm, deadline),
        };
        let Some(missing) = missing else { return Ok(()) };
        if deadline.is_over() {
            return Err(GuestError::NotYet {
                vm: vm.name().clone(),
                awaited,
                timeout,
                missing: missing.what,
                state: vm.state(),
            });
        }
        let until = match missing.wakeup {
            Wakeup::Event => deadline.left(),
            Wakeup::Poll => {
                let until = deadline.left().min(pause);
                pause = (pause * 3 / 2).min(LONGEST_PAUSE);
                until
            }
        };
        let mut events = vec![PollFd::new(&machine, PollFlags::IN)];
        if let Some(addresses) = &addresses {
            let of = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
            events.extend(addresses.descriptors().map(of));
        }
        // What can't be polled is asked again: the deadline holds in any case.
        poll(&mut events, timespec(until).as_ref()).ok();
    }
}

fn connect_when_up(
    vm: &Vm,
    port: u16,
    timeout: Duration,
    on_wait: impl FnOnce(&[String]),
) -> Result<GuestStream, GuestError> {
    let deadline = Deadline::after(timeout);
    let mut on_wait = Some(on_wait);
    let mut pause = FIRST_PAUSE;
    loop {
        let left = deadline.left();
        let tried = match connect(vm, port, left.clamp(SHORTEST_ATTEMPT, LONGEST_ATTEMPT)) {
            Ok(stream) if port != SSH_PORT => return Ok(stream),
            Ok(stream) => match await_greeting(&stream, left.clamp(SHORTEST_ATTEMPT, GREETING)) {
                Ok(()) => return Ok(stream),
                Err(error) => vec![format!("{}: {error}", stream.route())],
            },
            Err(GuestError::Unreachable { tried, .. }) => tried,
            Err(error) => return Err(error),
        };
        let left = deadline.left();
        if left.is_zero() {
            return Err(GuestError::Unreachable { vm: vm.name().clone(), port, tried });
        }
        if let Some(on_wait) = on_wait.take() {
            on_wait(&tried);
        }
        // Nothing shows that it listens. Its end would be an event, and is soon enough known.
        std::thread::sleep(left.min(pause));
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
