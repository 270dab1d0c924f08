//! The events of cloud-hypervisor's event monitor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::HypervisorError;
use crate::untrusted_file::open_untrusted;

/// The most bytes of one event.
const MAX_EVENT: usize = 1 << 20;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When, from the start of the process.
    #[serde(deserialize_with = "duration")]
    pub timestamp: Duration,
    /// To what: `vmm`, `vm`, `virtio-device`, `guest`.
    pub source: String,
    /// What: `booted`, `shutdown`, `rebooted`, …
    pub event: String,
    /// More about it.
    #[serde(default, deserialize_with = "none_is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Event {
    /// Returns whether it is this one.
    pub fn is(&self, source: &str, event: &str) -> bool {
        self.source == source && self.event == event
    }
}

/// Reads an event file while cloud-hypervisor writes it.
///
/// A thread of its own writes it, a little after things happened; when the process ends, the last
/// events may be missing.
///
/// # References
///
/// cloud-hypervisor's `docs/api.md`, "Event monitor". The objects are written over several lines,
/// with an empty line between them.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    file: File,
    rest: Vec<u8>,
}

impl EventReader {
    /// Opens the file, to be read from its beginning.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::Events`].
    pub fn open(path: &Path) -> Result<Self, HypervisorError> {
        let file = open_untrusted(path)
            .map_err(|source| HypervisorError::Events { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, rest: Vec::new() })
    }

    /// The events since the last call. One that is written halfway comes with the next call.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::Events`], and [`EventsMalformed`](HypervisorError::EventsMalformed) for
    /// what isn't an event; every call after that fails too.
    pub fn read_new(&mut self) -> Result<Vec<Event>, HypervisorError> {
        let mut events = Vec::new();
        let mut chunk = [0; 8192];
        loop {
            match self.file.read(&mut chunk) {
                Ok(0) => return Ok(events),
                Ok(read) => self.rest.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(HypervisorError::Events { path: self.path.clone(), source });
                }
            }
            self.parse(&mut events)?;
            if self.rest.len() > MAX_EVENT {
                let source = io::ErrorKind::InvalidData.into();
                return Err(HypervisorError::Events { path: self.path.clone(), source });
            }
        }
    }

    fn parse(&mut self, events: &mut Vec<Event>) -> Result<(), HypervisorError> {
        let (rest, malformed) = parse(std::mem::take(&mut self.rest), events);
        self.rest = rest;
        match malformed {
            None => Ok(()),
            Some(source) => {
                Err(HypervisorError::EventsMalformed { path: self.path.clone(), source })
            }
        }
    }
}

/// Takes the whole events at the beginning of `bytes`, and gives back what comes after them.
fn parse(mut bytes: Vec<u8>, events: &mut Vec<Event>) -> (Vec<u8>, Option<serde_json::Error>) {
    let mut stream = serde_json::Deserializer::from_slice(&bytes).into_iter();
    let mut read = 0;
    let malformed = loop {
        match stream.next() {
            Some(Ok(event)) => {
                events.push(event);
                read = stream.byte_offset();
            }
            None => break None,
            Some(Err(error)) if error.is_eof() => break None,
            Some(Err(error)) => break Some(error),
        }
    };
    bytes.drain(..read);
    (bytes, malformed)
}

/// Reads the events of a file, as far as they are complete.
///
/// # Errors
///
/// As [`EventReader::open`] and [`EventReader::read_new`].
pub fn read_events(path: &Path) -> Result<Vec<Event>, HypervisorError> {
    EventReader::open(path)?.read_new()
}

/// Reads the events at the end of a file, however long it is: those of its last 64 KiB. Of a file whose
/// beginning was cut away, the first whole event is the first.
///
/// # Errors
///
/// As [`read_events`].
pub fn last_events(path: &Path) -> Result<Vec<Event>, HypervisorError> {
    let failed = |source| HypervisorError::Events { path: path.to_owned(), source };
    let text = crate::log::read_end(path).map_err(failed)?;
    let parse = |text: &str| {
        let (mut events, rest) = (Vec::new(), text.as_bytes().to_vec());
        parse(rest, &mut events).1.map(|source| (path.to_owned(), source)).map_or(Ok(events), Err)
    };
    let malformed = |(path, source)| HypervisorError::EventsMalformed { path, source };
    parse(&text).or_else(|error| match text.split_once("\n\n{") {
        Some((_, rest)) => parse(&format!("{{{rest}")).map_err(malformed),
        None => Err(malformed(error)),
    })
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    struct Timestamp {
        secs: u64,
        nanos: u32,
    }
    let Timestamp { secs, nanos } = Timestamp::deserialize(deserializer)?;
    // Not `Duration::new`, which panics on overflow.
    let duration = Duration::from_secs(secs).checked_add(Duration::from_nanos(nanos.into()));
    duration.ok_or_else(|| serde::de::Error::custom("timestamp out of range"))
}

fn none_is_empty<'de, D>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BOOTED: &str = "{\n  \"timestamp\": {\n    \"secs\": 1,\n    \"nanos\": 2\n  },\n  \
         \"source\": \"vm\",\n  \"event\": \"booted\",\n  \"properties\": null\n}\n\n";
    const RESET: &str = "{\"timestamp\":{\"secs\":2,\"nanos\":0},\"source\":\"virtio-device\",\
         \"event\":\"reset\",\"properties\":{\"id\":\"_net1\"}}\n\n";

    #[test]
    fn events_come_whole_however_they_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.json");
        let mut file = File::create(&path).unwrap();
        let mut reader = EventReader::open(&path).unwrap();
        let mut events = Vec::new();
        for byte in format!("{BOOTED}{RESET}").bytes() {
            file.write_all(&[byte]).unwrap();
            events.extend(reader.read_new().unwrap());
        }
        assert_eq!(events.len(), 2);
        assert!(events[0].is("vm", "booted"));
        assert_eq!(events[0].timestamp, Duration::new(1, 2));
        assert_eq!(events[1].properties["id"], "_net1");
        assert_eq!(read_events(&path).unwrap(), events);
    }

    #[test]
    fn the_last_events_of_a_long_or_cut_file_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.json");
        let text = format!("{}{RESET}", BOOTED.repeat(2000));
        for from in [0, 1, 10, 100] {
            std::fs::write(&path, &text[from..]).unwrap();
            let events = last_events(&path).unwrap();
            assert!(events.len() > 300 && events.len() < 2000, "{from}");
            assert!(events.last().unwrap().is("virtio-device", "reset"));
        }
        std::fs::write(&path, &format!("{BOOTED}{RESET}")[20..]).unwrap();
        assert_eq!(last_events(&path).unwrap().len(), 1);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(last_events(&path).is_err());
    }

    #[test]
    fn what_isnt_an_event_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.json");
        let far = "{\"timestamp\":{\"secs\":18446744073709551615,\"nanos\":4294967295},\
             \"source\":\"\",\"event\":\"\"}";
        for garbage in ["nonsense", "[1]", "{\"source\": 1}", far] {
            std::fs::write(&path, garbage).unwrap();
            assert!(read_events(&path).is_err(), "{garbage}");
        }
        std::fs::write(&path, "{\"source\": \"".to_owned() + &"a".repeat(MAX_EVENT)).unwrap();
        assert!(read_events(&path).is_err());
        assert!(read_events(&directory.path().join("absent")).is_err());
    }
}
