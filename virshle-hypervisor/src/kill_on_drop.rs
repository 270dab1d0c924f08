//! A process that is ended unless it is kept.

use std::ops::Deref;
use std::time::Duration;

use crate::vmm::Vmm;

/// How long the kernel may take to end a process that was killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// A running process that is killed when this is dropped, unless it is [`keep`](Self::keep)t.
///
/// For the time between a start and the moment that the machine runs: whatever fails in between,
/// by `?` or by a panic, leaves no process behind. Its sockets and logs stay.
#[derive(Debug)]
#[must_use = "the process is killed when this is dropped"]
pub struct KillOnDrop {
    vmm: Option<Vmm>,
}

impl Vmm {
    /// Has the process killed when the returned value is dropped, unless it is kept.
    pub fn kill_on_drop(self) -> KillOnDrop {
        KillOnDrop { vmm: Some(self) }
    }
}

impl KillOnDrop {
    /// Leaves the process alone from now on.
    #[expect(clippy::missing_panics_doc, reason = "it is there until this call or the drop")]
    pub fn keep(mut self) -> Vmm {
        self.vmm.take().expect("only `keep` and the drop take it, and both end this")
    }
}

impl Deref for KillOnDrop {
    type Target = Vmm;

    fn deref(&self) -> &Vmm {
        self.vmm.as_ref().expect("only `keep` and the drop take it, and both end this")
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let Some(vmm) = self.vmm.take() else { return };
        // One that has ended already can't be killed, and needn't.
        match vmm.kill() {
            Ok(()) if vmm.wait_exit(END_TIMEOUT) => {}
            Ok(()) => tracing::error!(pid = vmm.pid(), "killed, and has not ended"),
            Err(_) if vmm.wait_exit(Duration::ZERO) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot end a process");
            }
        }
    }
}
