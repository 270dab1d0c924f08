//! What comes over a line, a serial one or a program's output: what came so far, and waiting for
//! more.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::failure::{Failure, While, ensure};

/// What came over the line so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Serial(Arc<(Mutex<Received>, Condvar)>);

#[derive(Debug, Default)]
struct Received {
    text: String,
    ended: bool,
}

impl Serial {
    /// Reads `source` to its end in a thread of its own, and keeps a copy in `log`.
    pub(crate) fn follow(
        mut source: impl Read + Send + 'static,
        log: &Path,
    ) -> Result<Self, Failure> {
        let mut log = File::create(log).doing(|| format!("cannot make {}", log.display()))?;
        let serial = Self::default();
        let reader = serial.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = source.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                drop(log.write_all(text.as_bytes())); // Only a copy, for a person.
                reader.received().text.push_str(&text);
                reader.0.1.notify_all();
            }
            reader.received().ended = true;
            reader.0.1.notify_all();
        });
        Ok(serial)
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.0.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until the line has ended, and hands back every whole line of it: one that was cut off is
    /// left out.
    pub(crate) fn whole_lines(&self, deadline: Duration) -> Result<String, Failure> {
        let received = self.received();
        let waited = self.0.1.wait_timeout_while(received, deadline, |received| !received.ended);
        let (received, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        ensure!(received.ended, "it did not end within {deadline:?}");
        Ok(received.text[..received.text.rfind('\n').map_or(0, |end| end + 1)].to_owned())
    }

    /// Waits until the line has shown `expected`, that often.
    pub(crate) fn wait_for(
        &self,
        expected: &str,
        times: usize,
        deadline: Duration,
    ) -> Result<(), Failure> {
        let end = Instant::now() + deadline;
        let mut received = self.received();
        loop {
            if received.text.matches(expected).count() >= times {
                return Ok(());
            }
            let left = end.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero() && !received.ended,
                "{expected:?} did not come within {deadline:?}; what came ends with\n{}",
                tail(&received.text)
            );
            received = match self.0.1.wait_timeout(received, left) {
                Ok((received, _)) => received,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
