//! A download that is taken up again where it was interrupted.
//!
//! # References
//!
//! RFC 9110 §13.1.5 (If-Range), §14 (range requests).

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ureq::Body;
use ureq::http::{HeaderMap, Response, StatusCode};
use virshle_disk::DiskError;

use super::checksum::{Checksum, Checksums, Finished};
use super::http::{DownloadError, Http, header, without_password};
use super::import::{ImportProgress, ImportStep};
use crate::error::CoreError;
use crate::store::run_record::boot_id;
use crate::store::{Sync, replace};

/// What came so far.
const FILE: &str = "download";
/// What it is a part of.
const STATE: &str = "download.toml";
/// So much is read between two reports.
const CHUNK: usize = 256 << 10;

/// What a partial download is a part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    url: String,
    /// By which the server knows the same file again; weak ones don't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    /// The host's boot on which it came.
    boot_id: String,
    /// So much of it outlasts a power failure.
    #[serde(default)]
    kept_bytes: u64,
}

/// A partial download, as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) url: String,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: Option<u64>,
}

/// A file that was downloaded whole.
#[derive(Debug)]
pub(crate) struct Downloaded {
    pub(crate) path: PathBuf,
    pub(crate) checksums: Finished,
}

/// One download into a folder of its own.
pub(crate) struct Download<'a> {
    pub(crate) http: &'a Http,
    pub(crate) url: &'a str,
    pub(crate) folder: &'a Path,
    /// The checksum that it is going to be compared with.
    pub(crate) expected: Option<&'a Checksum>,
}

impl State {
    /// The state of the download in `folder`, if there is one that can be read.
    fn read(folder: &Path) -> Option<Self> {
        toml::from_str(&std::fs::read_to_string(folder.join(STATE)).ok()?).ok()
    }

    fn write(&self, folder: &Path) -> Result<(), CoreError> {
        let text = toml::to_string(self).map_err(|source| CoreError::Encode { source })?;
        replace(&folder.join(STATE), text.as_bytes(), Sync::Yes)
    }

    /// What the answer says of its file.
    fn of(url: &str, response: &Response<Body>) -> Self {
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

    /// By what the server is to know whether its file is still the same.
    fn validator(&self) -> Option<&String> {
        self.etag.as_ref().or(self.last_modified.as_ref())
    }

    /// Tells whether `response` is a part, from `start` on, of the file this is the state of.
    fn is_continued_by(&self, response: &Response<Body>, start: u64) -> bool {
        let headers = response.headers();
        let range = header(headers, "content-range").as_deref().and_then(parse_range);
        let is_same = |told: Option<String>, known: &Option<String>| {
            told.is_none_or(|told| known.as_ref() == Some(&told))
        };
        range.is_some_and(|(first, total)| first == start && Some(total) == self.total_bytes)
            && is_same(strong_etag(headers), &self.etag)
            && is_same(header(headers, "last-modified"), &self.last_modified)
    }
}

/// The tag of a file that is the same, byte by byte, as long as its tag is: a weak one says less.
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

/// The partial download in `folder`, if there is one.
pub(crate) fn partial(folder: &Path) -> Option<Partial> {
    let state = State::read(folder)?;
    let done_bytes = folder.join(FILE).metadata().ok()?.len();
    Some(Partial { url: without_password(&state.url), done_bytes, total_bytes: state.total_bytes })
}

impl Download<'_> {
    /// Downloads the file, or what is missing of it.
    ///
    /// What came stays in the folder when it fails: whether that is of use is up to the caller.
    pub(crate) fn run(
        &self,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<Downloaded, CoreError> {
        let path = self.folder.join(FILE);
        let unwritable = |source| CoreError::Write { path: path.clone(), source };
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unwritable)?;
        let (mut state, start, response) = self.ask(&file)?;
        file.set_len(start).map_err(unwritable)?;
        state.write(self.folder)?;
        if state.total_bytes.is_none() && !is_chunked(&response) && self.expected.is_none() {
            return Err(self.failed(DownloadError::Unbounded));
        }
        if let Some(total_bytes) = state.total_bytes {
            self.needs_room(&file, total_bytes.saturating_sub(start))?;
        }
        let mut checksums = Checksums::for_comparison_with(self.expected);
        checksums
            .feed_all(&file, |_| {})
            .map_err(|source| CoreError::Read { path: path.clone(), source })?;
        let result = self.receive(response, &file, start, &state, &mut checksums, on_progress);
        if let Err(error) = result {
            // Whatever this makes of it, the first failure is the one to tell of.
            if let (Ok(()), Ok(metadata)) = (file.sync_all(), file.metadata()) {
                state.kept_bytes = metadata.len();
                drop(state.write(self.folder));
            }
            return Err(error);
        }
        Ok(Downloaded { path, checksums: checksums.finish() })
    }

    /// Asks for the file, or for what is missing of it: the answer, and where it begins.
    fn ask(&self, file: &File) -> Result<(State, u64, Response<Body>), CoreError> {
        let known = State::read(self.folder).filter(|state| state.url == self.url);
        if let Some(mut state) = known
            && let (Some(validator), Some(total)) = (state.validator(), state.total_bytes)
        {
            let there = file.metadata().map_or(0, |metadata| metadata.len());
            // What a host that went down had not yet written may read as zeros.
            let there =
                if state.boot_id == boot_id() { there } else { there.min(state.kept_bytes) };
            // One byte is asked for again if there is no other: is the file still the same?
            let start = there.min(total.saturating_sub(1));
            if start > 0 {
                let headers =
                    [("range", format!("bytes={start}-")), ("if-range", validator.clone())];
                let response = self.get(&headers)?;
                match response.status() {
                    StatusCode::PARTIAL_CONTENT if state.is_continued_by(&response, start) => {
                        state.boot_id = boot_id();
                        return Ok((state, start, response));
                    }
                    // It is another file by now, or the server has no use for ranges.
                    StatusCode::OK => return Ok((State::of(self.url, &response), 0, response)),
                    StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {}
                    _ => self.accept(&response)?,
                }
                tracing::debug!(url = self.url, "the server does not go on: from the beginning");
            }
        }
        let response = self.get(&[])?;
        self.accept(&response)?;
        Ok((State::of(self.url, &response), 0, response))
    }

    fn get(&self, headers: &[(&str, String)]) -> Result<Response<Body>, CoreError> {
        self.http.get(self.url, headers).map_err(|error| self.failed(error))
    }

    /// Refuses an answer that is not the file.
    fn accept(&self, response: &Response<Body>) -> Result<(), CoreError> {
        self.http.accept(response).map_err(|error| self.failed(error))?;
        match response.status() {
            StatusCode::OK => Ok(()),
            status => Err(self.failed(DownloadError::Status {
                status: status.as_u16(),
                reason: ", which is not the file".into(),
            })),
        }
    }

    /// Writes what comes behind what is there.
    fn receive(
        &self,
        response: Response<Body>,
        file: &File,
        start: u64,
        state: &State,
        checksums: &mut Checksums,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<(), CoreError> {
        let unwritable = |source| CoreError::Write { path: self.folder.join(FILE), source };
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        let mut at = start;
        loop {
            on_progress(ImportProgress {
                step: ImportStep::Download,
                done_bytes: at,
                total_bytes: state.total_bytes,
            });
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(self.cut(error, at, state))),
            };
            let part = &buffer[..read];
            checksums.feed(part);
            // Zeros take no room. The file ends with what came last that isn't one; should it end
            // there for good, what is missing is asked for again.
            virshle_disk::write_sparse(file, part, at).map_err(unwritable)?;
            at += read as u64;
        }
        match state.total_bytes {
            Some(total_bytes) if at != total_bytes => {
                Err(self.failed(DownloadError::CutShort { got_bytes: at, total_bytes }))
            }
            _ => file.set_len(at).map_err(unwritable),
        }
    }

    /// What ended the body before its time.
    fn cut(&self, error: io::Error, got_bytes: u64, state: &State) -> DownloadError {
        match (self.http.broken(error), state.total_bytes) {
            (DownloadError::Broken { source }, Some(total_bytes))
                if source.kind() == ErrorKind::UnexpectedEof =>
            {
                DownloadError::CutShort { got_bytes, total_bytes }
            }
            (error, _) => error,
        }
    }

    fn needs_room(&self, file: &File, needed_bytes: u64) -> Result<(), CoreError> {
        let path = self.folder.join(FILE);
        let space = rustix::fs::fstatvfs(file)
            .map_err(|errno| CoreError::Read { path: path.clone(), source: errno.into() })?;
        let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        if needed_bytes <= free_bytes {
            return Ok(());
        }
        Err(CoreError::Import {
            source_name: without_password(self.url),
            source: DiskError::NoRoom { path, needed_bytes, free_bytes },
        })
    }

    fn failed(&self, source: DownloadError) -> CoreError {
        CoreError::Download { url: without_password(self.url), source }
    }
}

/// Tells whether the end of the body is marked, though its length isn't known.
fn is_chunked(response: &Response<Body>) -> bool {
    header(response.headers(), "transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_range_up_to_the_end_is_taken() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, 10)));
        for value in ["bytes 5-8/10", "bytes 9-5/10", "bytes */10", "bytes 5-9/*", "5-9/10", ""] {
            assert_eq!(parse_range(value), None, "{value:?}");
        }
        assert_eq!(parse_range("bytes 0-18446744073709551615/18446744073709551615"), None);
    }
}
