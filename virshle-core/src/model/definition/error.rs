//! What can go wrong with a definition.

use std::path::{Path, PathBuf};

use virshle_template::Mistake;

use crate::failure::{Failure, Verdict};
use crate::fs::error::FileError;

/// Why a definition can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is not that of a machine.
    #[error("{} is not the definition of a machine: {}", .mistake.path.display(), shown(.mistake))]
    Broken {
        /// What is wrong, and where.
        mistake: Box<Mistake>,
    },
    /// It is the definition of another machine: a copy, most likely.
    #[error("{} is the definition of a machine with another uuid", .path.display())]
    UuidMismatch {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a later version.
    #[error(
        "{} has format {format}, written by a newer virshle; this one reads up to {known}",
        .path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        format: u32,
        /// The newest this version reads.
        known: u32,
    },
    /// It can't be written as TOML.
    #[error("cannot write the definition as TOML")]
    Encode {
        /// Why.
        source: toml::ser::Error,
    },
}

fn shown(mistake: &Mistake) -> String {
    format!("line {}, column {}: {}", mistake.line, mistake.column, mistake.message)
}

impl DefinitionError {
    /// Whether there is no such file.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::File(error) if error.is_absent())
    }
}

/// What to do about the broken definition `path`: nothing but a person knows what it was.
fn mend(path: &Path) -> String {
    let directory = path.parent().unwrap_or(path).display();
    format!("correct that file; or remove {directory}, which holds the machine's disks, too")
}

impl Failure for DefinitionError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::File(error) => error.verdict(),
            Self::Broken { mistake } => {
                Verdict::failed("definition-broken").text(mend(&mistake.path))
            }
            Self::UuidMismatch { path } => Verdict::failed("definition-broken").text(mend(path)),
            Self::NewerFormat { .. } => {
                Verdict::failed("definition-newer").text("install the newer virshle again")
            }
            Self::Encode { .. } => Verdict::failed("encode-failed"),
        }
    }
}
