//! The standard output: results, and nothing else.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::error::CliError;
use crate::paint::Paint;
use crate::table::Table;

/// The standard output, and the notes on stderr that go with it.
#[derive(Debug)]
pub(crate) struct Output {
    /// One JSON document instead of text.
    pub(crate) json: bool,
    quiet: bool,
    /// The colours of the text.
    pub(crate) paint: Paint,
    /// The first write that failed. The command continues: a closed pipe must not leave half of the
    /// machines unstarted.
    failed: Mutex<Option<io::Error>>,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool, paint: Paint) -> Self {
        Self { json, quiet, paint, failed: Mutex::new(None) }
    }

    /// Writes `text` as it is.
    pub(crate) fn text(&self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Writes `bytes` as they are, at once. Returns whether they could be written.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> bool {
        let mut stdout = io::stdout().lock();
        let result = stdout.write_all(bytes).and_then(|()| stdout.flush());
        self.note_failure(result)
    }

    /// Writes a table below its heading.
    pub(crate) fn table(&self, heading: &str, table: Table) {
        let mut stdout = BufWriter::new(io::stdout().lock());
        let result = stdout
            .write_all(heading.as_bytes())
            .and_then(|()| table.write(&mut stdout))
            .and_then(|()| stdout.flush());
        self.note_failure(result);
    }

    /// Writes one line.
    pub(crate) fn line(&self, line: &str) {
        self.text(&format!("{line}\n"));
    }

    /// Writes a confirmation of what was done, unless `--quiet`.
    pub(crate) fn done(&self, line: &str) {
        if !self.quiet {
            self.line(line);
        }
    }

    /// Writes a note beside the result on stderr, unless `--quiet`.
    pub(crate) fn note(&self, line: &str) {
        if !self.quiet {
            // A failure to write to stderr can't be reported.
            drop(writeln!(io::stderr(), "{line}"));
        }
    }

    /// Whether anything but errors may appear on stderr.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Writes the JSON document.
    ///
    /// # Errors
    ///
    /// If the value has no JSON form; a failed write is reported by [`Output::finish`].
    pub(crate) fn json<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), CliError> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        let result = match serde_json::to_writer_pretty(&mut stdout, value) {
            Ok(()) => stdout.write_all(b"\n").and_then(|()| stdout.flush()),
            Err(source) if source.is_io() => Err(source.into()),
            Err(source) => return Err(CliError::Json { source }),
        };
        self.note_failure(result);
        Ok(())
    }

    /// Writes one JSON array of the values that `fill` pushes.
    ///
    /// Each is written at once: a long array is never whole in memory.
    ///
    /// # Errors
    ///
    /// As [`Output::json`].
    pub(crate) fn json_list<T: Serialize>(
        &self,
        fill: impl FnOnce(&mut dyn FnMut(T) -> serde_json::Result<()>) -> serde_json::Result<()>,
    ) -> Result<(), CliError> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        let mut serializer = serde_json::Serializer::pretty(&mut stdout);
        let filled = serializer.serialize_seq(None).and_then(|mut array| {
            fill(&mut |value| array.serialize_element(&value))?;
            array.end()
        });
        let result = match filled {
            Ok(()) => stdout.write_all(b"\n").and_then(|()| stdout.flush()),
            Err(source) if source.is_io() => Err(source.into()),
            Err(source) => return Err(CliError::Json { source }),
        };
        self.note_failure(result);
        Ok(())
    }

    /// Reports the first write that failed. A closed pipe is no failure: its reader wanted no more.
    ///
    /// # Errors
    ///
    /// [`CliError::Output`].
    pub(crate) fn finish(&self) -> Result<(), CliError> {
        match self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(source) if source.kind() != ErrorKind::BrokenPipe => {
                Err(CliError::Output { source })
            }
            _ => Ok(()),
        }
    }

    fn note_failure(&self, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => true,
            Err(error) => {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                false
            }
        }
    }
}
