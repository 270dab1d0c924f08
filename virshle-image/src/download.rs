//! A download that resumes where it was interrupted.
//!
//! # References
//!
//! RFC 9110 §13.1.5 (If-Range), §14 (range requests).

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::{Response, StatusCode};
use virshle_disk::DiskError;

use crate::checksum::{Checksum, Checksums, Finished};
use crate::download_error::DownloadError;
use crate::download_state::{DATA, DownloadState};
use crate::error::ImageError;
use crate::fs::open_private;
use crate::http::{Http, header};
use crate::progress::{ImportProgress, ImportStep};
use crate::room::Room;
use crate::source::ImportSource;
use crate::url::{file_name, without_credentials};

/// So much is read between two reports.
const CHUNK: usize = 256 << 10;

/// A file that was downloaded whole.
#[derive(Debug)]
pub(crate) struct Downloaded {
    pub(crate) path: PathBuf,
    pub(crate) checksums: Finished,
}

/// One download into a directory of its own.
pub(crate) struct Download<'a> {
    pub(crate) http: &'a Http,
    pub(crate) url: &'a str,
    pub(crate) directory: &'a Path,
    /// The checksum that it is going to be compared with.
    pub(crate) expected: Option<&'a Checksum>,
    /// How large it may be, in bytes.
    pub(crate) most_bytes: Option<u64>,
}

impl Download<'_> {
    /// Downloads the file, or what is missing of it.
    ///
    /// What came stays in the directory on failure: whether that is of use is up to the caller.
    pub(crate) fn run(
        &self,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<Downloaded, ImageError> {
        let path = self.path();
        let unwritable = |source| ImageError::Write { path: path.clone(), source };
        let file = open_private(&path).map_err(unwritable)?;
        let (mut state, start, response) = self.ask(&file)?;
        file.set_len(start).map_err(unwritable)?;
        state.write(self.directory)?;
        if state.total_bytes.is_none() && !is_chunked(&response) && self.expected.is_none() {
            return Err(self.failed(DownloadError::Unbounded));
        }
        if let Some(total_bytes) = state.total_bytes {
            let rest = total_bytes.saturating_sub(start);
            let room = Room::new(&path, &file, self.most_bytes);
            room.expect(total_bytes, rest).map_err(|error| self.refused(error))?;
        }
        let mut checksums = Checksums::for_comparison_with(self.expected);
        checksums
            .feed_all(&file, |_| {})
            .map_err(|source| ImageError::Read { path: path.clone(), source })?;
        let result = self.receive(response, &file, start, &state, &mut checksums, on_progress);
        if let Err(error) = result {
            // Whatever this leads to, the first failure is the one to report.
            if let (Ok(()), Ok(metadata)) = (file.sync_all(), file.metadata()) {
                state.kept_bytes = metadata.len();
                drop(state.write(self.directory));
            }
            return Err(error);
        }
        Ok(Downloaded { path, checksums: checksums.finish() })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(DATA)
    }

    /// Asks for the file, or for what is missing of it: the answer, and where it begins.
    fn ask(&self, file: &File) -> Result<(DownloadState, u64, Response<Body>), ImageError> {
        let known = DownloadState::read(self.directory).filter(|state| state.url == self.url);
        let rest = known.map(|state| self.ask_for_rest(file, state)).transpose()?;
        if let Some(rest) = rest.flatten() {
            return Ok(rest);
        }
        let response = self.get(&[])?;
        self.accept(&response)?;
        Ok((DownloadState::of(self.url, &response), 0, response))
    }

    /// Asks for what is missing of the file; none if nothing of it is there, or the server does not resume.
    fn ask_for_rest(
        &self,
        file: &File,
        mut state: DownloadState,
    ) -> Result<Option<(DownloadState, u64, Response<Body>)>, ImageError> {
        let (Some(validator), Some(total)) = (state.validator(), state.total_bytes) else {
            return Ok(None);
        };
        let there = state.reliable_bytes(file.metadata().map_or(0, |metadata| metadata.len()));
        // If all is there, one byte is asked for again: is the file still the same?
        let start = there.min(total.saturating_sub(1));
        if start == 0 {
            return Ok(None);
        }
        let headers = [("range", format!("bytes={start}-")), ("if-range", validator.clone())];
        let response = self.get(&headers)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if state.is_continued_by(&response, start) => {
                state.resume();
                return Ok(Some((state, start, response)));
            }
            // It is another file by now, or the server ignores ranges.
            StatusCode::OK => {
                return Ok(Some((DownloadState::of(self.url, &response), 0, response)));
            }
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {}
            _ => self.accept(&response)?,
        }
        let url = without_credentials(self.url);
        tracing::debug!(url, "the server does not resume: from the beginning");
        Ok(None)
    }

    fn get(&self, headers: &[(&str, String)]) -> Result<Response<Body>, ImageError> {
        self.http.get(self.url, headers).map_err(|error| self.failed(error))
    }

    /// Refuses an answer that is not the file.
    fn accept(&self, response: &Response<Body>) -> Result<(), ImageError> {
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
        state: &DownloadState,
        checksums: &mut Checksums,
        on_progress: &mut dyn FnMut(ImportProgress),
    ) -> Result<(), ImageError> {
        let unwritable = |source| ImageError::Write { path: self.path(), source };
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        let mut at = start;
        let path = self.path();
        let mut room = Room::new(&path, file, self.most_bytes);
        loop {
            on_progress(ImportProgress::new(ImportStep::Download, at, state.total_bytes));
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(self.cut(error, at, state))),
            };
            let part = &buffer[..read];
            checksums.feed(part);
            // Zeros take no room. The file ends with the last byte that isn't one; should the
            // download end there for good, what is missing is asked for again.
            virshle_disk::write_sparse(file, part, at).map_err(unwritable)?;
            at += read as u64;
            room.reach(at).map_err(|error| self.refused(error))?;
        }
        match state.total_bytes {
            Some(total_bytes) if at != total_bytes => {
                Err(self.failed(DownloadError::CutShort { got_bytes: at, total_bytes }))
            }
            _ => file.set_len(at).map_err(unwritable),
        }
    }

    /// What ended the body before its time.
    fn cut(&self, error: io::Error, got_bytes: u64, state: &DownloadState) -> DownloadError {
        match (self.http.broken(error), state.total_bytes) {
            (DownloadError::Broken { source }, Some(total_bytes))
                if source.kind() == ErrorKind::UnexpectedEof =>
            {
                DownloadError::CutShort { got_bytes, total_bytes }
            }
            (error, _) => error,
        }
    }

    fn refused(&self, source: DiskError) -> ImageError {
        let source = match source {
            // What has come of it is not what is too large.
            DiskError::TooLarge { most_bytes, .. } => {
                DiskError::TooLarge { path: file_name(self.url).into(), most_bytes }
            }
            other => other,
        };
        ImageError::Import { from: ImportSource::Url(without_credentials(self.url)), source }
    }

    fn failed(&self, source: DownloadError) -> ImageError {
        ImageError::Download { url: without_credentials(self.url), source }
    }
}

/// Whether the end of the body is marked, though its length isn't known.
fn is_chunked(response: &Response<Body>) -> bool {
    header(response.headers(), "transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"))
}
