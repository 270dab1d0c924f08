//! Hugepages of 2 MiB, reserved while a test needs them.

use std::fs;
use std::io;

const COUNT: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// A reservation of 2 MiB hugepages; dropping it gives back what it added.
#[derive(Debug)]
#[must_use = "dropping it gives the pages back"]
pub struct Hugepages {
    before: u64,
}

/// Reserves at least `count` hugepages of 2 MiB on this host, unless as many are there already.
///
/// # Errors
///
/// Without root, or when the kernel has no such memory in one piece.
pub fn hugepages(count: u64) -> io::Result<Hugepages> {
    let before = reserved()?;
    if before < count {
        fs::write(COUNT, count.to_string())?;
    }
    let guard = Hugepages { before };
    let now = reserved()?;
    if now < count {
        return Err(io::Error::other(format!("only {now} of {count} hugepages could be reserved")));
    }
    Ok(guard)
}

fn reserved() -> io::Result<u64> {
    fs::read_to_string(COUNT)?.trim().parse().map_err(io::Error::other)
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        if reserved().is_ok_and(|now| now > self.before) {
            // Nothing depends on the pages going back at once; the host's owner can repeat it.
            drop(fs::write(COUNT, self.before.to_string()));
        }
    }
}
