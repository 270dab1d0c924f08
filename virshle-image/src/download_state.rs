//! What is known of a partial download: of which file it is a part, and how much of it is safe.

use std::path::Path;

use serde::{Deserialize, Serialize};
use ureq::Body;
use ureq::http::{HeaderMap, Response};

use crate::error::ImageError;
use crate::fs::{read_text, replace};
use crate::http::header;
use crate::url::without_credentials;

/// The bytes that came so far.
pub(crate) const DATA: &str = "download";
/// The state of the download.
const STATE: &str = "download.toml";
/// The largest state that is read, in bytes.
const MAX_STATE: u64 = 64 << 10;
/// The length of a boot's id and more, in bytes.
const MAX_BOOT_ID: u64 = 4096;

/// What a partial download is a part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DownloadState {
    pub(crate) url: String,
    /// Identifies the file on the server; weak ones don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total_bytes: Option<u64>,
    /// The host's boot on which it came.
    boot_id: String,
    /// So much of it persists across a power failure.
    #[serde(default)]
    pub(crate) kept_bytes: u64,
}

/// A partial download, as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) url: String,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: Option<u64>,
}

impl DownloadState {
    /// The state of the download in `directory`, if there is one that can be read.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        toml::from_str(&read_text(&directory.join(STATE), MAX_STATE).ok()?).ok()
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), ImageError> {
        let path = directory.join(STATE);
        match toml::to_string(self) {
            Ok(text) => {
                replace(&path, text.as_bytes()).map_err(|source| ImageError::Write { path, source })
            }
            Err(source) => Err(ImageError::Encode { path, source }),
        }
    }

    /// The state of a download that begins with `response`.
    pub(crate) fn of(url: &str, response: &Response<Body>) -> Self {
        let headers = response.headers();
        Self {
            url: url.to_owned(),
            etag: strong_etag(headers),
            last_modified: header(headers, "last-modified"),
            total_bytes: response.body().content_length(),
            boot_id: boot_id(),
            kept_bytes: 0,
        }
    }

    /// What the server is asked to compare, to know whether its file is still the same.
    pub(crate) fn validator(&self) -> Option<&String> {
        self.etag.as_ref().or(self.last_modified.as_ref())
    }

    /// How many of the `there_bytes` in the file are those that came.
    pub(crate) fn reliable_bytes(&self, there_bytes: u64) -> u64 {
        // What a host that went down had not yet written may read as zeros.
        match self.boot_id == boot_id() {
            true => there_bytes,
            false => there_bytes.min(self.kept_bytes),
        }
    }

    /// Notes that the download continues on this boot of the host.
    pub(crate) fn resume(&mut self) {
        self.boot_id = boot_id();
    }

    /// Whether `response` is a part, from `start` on, of the file this is the state of.
    pub(crate) fn is_continued_by(&self, response: &Response<Body>, start: u64) -> bool {
        let headers = response.headers();
        let range = header(headers, "content-range").as_deref().and_then(parse_range);
        let is_same = |sent: Option<String>, known: &Option<String>| {
            sent.is_none_or(|sent| known.as_ref() == Some(&sent))
        };
        range.is_some_and(|(first, total)| first == start && Some(total) == self.total_bytes)
            && is_same(strong_etag(headers), &self.etag)
            && is_same(header(headers, "last-modified"), &self.last_modified)
    }
}

/// The partial download in `directory`, if there is one.
pub(crate) fn partial(directory: &Path) -> Option<Partial> {
    let state = DownloadState::read(directory)?;
    let done_bytes = directory.join(DATA).symlink_metadata().ok()?.len();
    let url = without_credentials(&state.url);
    Some(Partial { url, done_bytes, total_bytes: state.total_bytes })
}

/// The tag of a file that is the same, byte by byte, as long as its tag is: a weak one means less.
fn strong_etag(headers: &HeaderMap) -> Option<String> {
    header(headers, "etag").filter(|etag| !etag.starts_with("W/"))
}

/// The first byte and the whole length of `bytes 5-9/10`.
fn parse_range(value: &str) -> Option<(u64, u64)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) =
        (first.parse().ok()?, last.parse::<u64>().ok()?, total.parse().ok()?);
    (first <= last && last.checked_add(1) == Some(total)).then_some((first, total))
}

/// The host's boot: another one after every start of it.
fn boot_id() -> String {
    read_text(Path::new("/proc/sys/kernel/random/boot_id"), MAX_BOOT_ID)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_range_up_to_the_end_is_accepted() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, 10)));
        for value in ["bytes 5-8/10", "bytes 9-5/10", "bytes */10", "bytes 5-9/*", "5-9/10", ""] {
            assert_eq!(parse_range(value), None, "{value:?}");
        }
        assert_eq!(parse_range("bytes 0-18446744073709551615/18446744073709551615"), None);
    }

    #[test]
    fn a_state_is_read_as_it_was_written_and_shown_without_its_password() {
        let directory = tempfile::tempdir().unwrap();
        let state = DownloadState {
            url: "https://me:secret@there/a".into(),
            etag: Some("\"1\"".into()),
            last_modified: None,
            total_bytes: Some(10),
            boot_id: boot_id(),
            kept_bytes: 3,
        };
        state.write(directory.path()).unwrap();
        assert_eq!(partial(directory.path()), None);
        std::fs::write(directory.path().join(DATA), "12345").unwrap();
        assert_eq!(DownloadState::read(directory.path()), Some(state.clone()));
        let shown = Partial { url: "https://there/a".into(), done_bytes: 5, total_bytes: Some(10) };
        assert_eq!(partial(directory.path()), Some(shown));
        assert_eq!(state.reliable_bytes(5), 5);
        let earlier = DownloadState { boot_id: "another".into(), ..state };
        assert_eq!((earlier.reliable_bytes(5), earlier.reliable_bytes(2)), (3, 2));
    }
}
