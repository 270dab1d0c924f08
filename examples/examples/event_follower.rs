//! Follows what happens to machines: `event_follower EVENTS_FILE [SECONDS]` prints the events of cloud-hypervisor as they
//! are written, until the VMM is gone or the time is over. `v vm info` names a machine's file.
//!
//! Without arguments it follows a file that it writes itself. It waits for changes by inotify.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use virshle_hypervisor::{Event, EventReader};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    if let Some(path) = arguments.next().map(PathBuf::from) {
        let seconds = arguments.next().map(|text| text.to_string_lossy().parse()).transpose()?;
        return follow(&path, Duration::from_secs(seconds.unwrap_or(60)));
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("events.json");
    let mut file = std::fs::File::create(&path)?;
    let writer = std::thread::spawn(move || {
        for (at, source, event) in
            [(1, "vm", "booting"), (2, "vm", "booted"), (9, "vmm", "shutdown")]
        {
            let time = format!("{{\"secs\": {at}, \"nanos\": 0}}");
            write!(
                file,
                "{{\"timestamp\": {time}, \"source\": \"{source}\", \"event\": \"{event}\", \"properties\": null}}\n\n"
            )?;
        }
        std::io::Result::Ok(())
    });
    follow(&path, Duration::from_secs(10))?;
    writer.join().map_err(|_| "the writer broke")??;
    Ok(())
}

fn follow(path: &Path, time: Duration) -> Result<(), Box<dyn Error>> {
    // Watched before the first look: what is written in between is not missed.
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&watch, path, WatchFlags::MODIFY | WatchFlags::DELETE_SELF)?;
    let mut reader = EventReader::open(path)?;
    let end = Instant::now() + time;
    let mut changes = Vec::with_capacity(4096);
    loop {
        for event in reader.read_new()? {
            println!("{}", line(&event));
            if event.is("vmm", "shutdown") {
                return Ok(());
            }
        }
        let Some(left) = end.checked_duration_since(Instant::now()) else { return Ok(()) };
        poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&Timespec::try_from(left)?))?;
        changes.clear();
        // What has changed does not matter: the reader knows how far it is.
        match rustix::io::read(&watch, spare_capacity(&mut changes)) {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn line(event: &Event) -> String {
    format!("after {:>6.2} s: {} {}", event.timestamp.as_secs_f64(), event.source, event.event)
}
