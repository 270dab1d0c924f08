//! What can go wrong with a configuration.

use std::io;
use std::path::PathBuf;

use crate::Mistake;
use crate::suggestion::quoted;

/// What failed. The next step is in [`hint`](Self::hint).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// No configuration file is in any of the usual places.
    #[error("no configuration file: looked for {}", shown(.looked))]
    NoFile {
        /// Where was looked.
        looked: Vec<PathBuf>,
    },
    /// The file can't be read.
    #[error("cannot read the configuration {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file, or the template that was asked for, is wrong.
    ///
    /// The first line of the message is a headline; then each mistake follows after an empty line,
    /// as its `Display` reports it.
    #[error("{}", report(.mistakes))]
    Mistakes {
        /// Every mistake, in the file's order.
        mistakes: Vec<Mistake>,
    },
    /// There is no such template.
    #[error("no template {}", quoted(.name))]
    NotFound {
        /// The name.
        name: String,
        /// The templates there are.
        known: Vec<String>,
        /// The one that is likely meant.
        nearest: Option<String>,
    },
}

impl TemplateError {
    /// The remedy, if there is one. It speaks of files and keys; the command that
    /// names a file, checks it or lists templates is the front end's to name.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFile { looked } => {
                looked.last().map(|path| format!("write {}, or name another file", path.display()))
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("correct the path, or name no file: then the usual places are tried".into())
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("let this user read it, or name another file".into())
            }
            Self::Read { .. } => None,
            Self::Mistakes { mistakes } => mistakes
                .iter()
                .all(|mistake| mistake.template.is_some())
                .then(|| "the rest of the file was not checked: check all of it".into()),
            Self::NotFound { nearest: Some(nearest), known, .. } => {
                Some(format!("did you mean {nearest:?}? the templates are {}", some(known)))
            }
            Self::NotFound { known, .. } if known.is_empty() => {
                Some("the configuration has no templates: add a [[template.vm]]".into())
            }
            Self::NotFound { known, .. } => Some(format!("the templates are {}", some(known))),
        }
    }

    /// The mistakes, if it is for them.
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Mistakes { mistakes } => mistakes,
            _ => &[],
        }
    }
}

/// As many of the names as fit a terminal.
fn some(names: &[String]) -> String {
    const FIT: usize = 20;
    match names.get(FIT..).filter(|rest| !rest.is_empty()) {
        Some(rest) => format!("{} and {} more", names[..FIT].join(", "), rest.len()),
        None => names.join(", "),
    }
}

fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}

/// A headline, then each mistake.
fn report(mistakes: &[Mistake]) -> String {
    let Some(first) = mistakes.first() else { return "the configuration is wrong".into() };
    let count = match mistakes.len() {
        1 => "a mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    let of_one = mistakes.iter().all(|mistake| mistake.template == first.template);
    let path = first.path.display();
    let mut report = match first.template.as_ref().filter(|_| of_one) {
        Some(name) => format!("template {} has {count} in {path}", quoted(name)),
        None => format!("the configuration {path} has {count}"),
    };
    for mistake in mistakes {
        report.push_str(&format!("\n\n{mistake}"));
    }
    report
}
