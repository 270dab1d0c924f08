//! What can go wrong with a guest's user data.

use virshle_template::TemplateError;

use crate::failure::{ErrorKind, Failure, Verdict};
use crate::fs::error::FileError;

/// Why user data can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file has mistakes.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Failure for ProvisionError {
    fn verdict(&self) -> Verdict<'_> {
        match self {
            Self::File(error) => error.verdict(),
            Self::Template(error) => template_verdict(error),
        }
    }
}

/// What a front end needs to know of a failure of the configuration.
pub(crate) fn template_verdict(error: &TemplateError) -> Verdict<'static> {
    let verdict = match error {
        TemplateError::NotFound { .. } => Verdict::new(ErrorKind::NotFound, "template-not-found"),
        _ => Verdict::new(ErrorKind::Config, "config-wrong"),
    };
    verdict.hint(error.hint())
}
