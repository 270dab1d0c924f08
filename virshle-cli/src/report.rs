//! Reports errors on stderr: as text for people, as JSON for programs.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde::Serialize;
use virshle_core::hypervisor::is_routine;
use virshle_core::template::Mistake;

use crate::error::CliError;
use crate::escape::{escape, escape_lines};
use crate::exit_code;
use crate::paint::{self, Paint};

/// Reports errors on stderr.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    /// Also print what is in the log of every run.
    pub(crate) verbose: bool,
    paint: Paint,
}

/// An error as JSON. Fields are added, never renamed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ErrorDocument {
    /// The stable identifier of the failure.
    code: &'static str,
    /// The exit code of a command that ends with it.
    exit: u8,
    /// What failed.
    message: String,
    /// The causes, outermost first.
    causes: Vec<String>,
    /// The suggested next step.
    help: Option<String>,
    /// The mistakes in the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mistakes: Vec<Mistake>,
    /// The last lines of cloud-hypervisor's log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<String>,
}

/// The document on stderr.
#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ErrorDocument,
}

impl ErrorDocument {
    pub(crate) fn new(error: &CliError) -> Self {
        let mistakes = error.mistakes();
        let message = match mistakes {
            [] => error.to_string(),
            [one] => place(one),
            [first, ..] => format!("{} mistakes, the first: {}", mistakes.len(), place(first)),
        };
        Self {
            code: error.code(),
            exit: error.exit_code(),
            message,
            causes: causes(error),
            help: error.hint(),
            mistakes: mistakes.to_vec(),
            log: error.details().to_vec(),
        }
    }
}

fn place(mistake: &Mistake) -> String {
    let Mistake { path, line, column, message, .. } = mistake;
    format!("{}:{line}:{column}: {message}", path.display())
}

/// The causes of `error`, outermost first.
fn causes(error: &CliError) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

impl Report {
    pub(crate) fn new(json: bool, paint: Paint) -> Self {
        Self { json, verbose: false, paint }
    }

    /// Reports the failure that ends this command, unless the document on stdout has it.
    pub(crate) fn draw(&self, error: &CliError) {
        if matches!(error, CliError::InDocument(_) | CliError::Reachable | CliError::Exited { .. })
        {
        } else if self.json {
            write_document(&ErrorDocument::new(error));
        } else {
            write(&self.drawing(error));
        }
    }

    /// Reports one failure of several: with `--json` it is in the document on stdout instead.
    pub(crate) fn draw_one_of_several(&self, error: &CliError) {
        if !self.json {
            write(&self.drawing(error));
        }
    }

    /// Reports the mistakes of a configuration.
    pub(crate) fn draw_mistakes(&self, mistakes: &[Mistake]) {
        if !self.json {
            let mut drawing = String::new();
            self.push_mistakes(&mut drawing, mistakes);
            write(&drawing);
        }
    }

    /// Reports something odd that prevented nothing.
    pub(crate) fn warn(&self, message: &str) {
        write(&format!("{} {}\n", self.paint.paint(paint::WARNING, "warning:"), escape(message)));
    }

    /// Reports a failure that prevented nothing else, as a warning.
    pub(crate) fn warn_of(&self, error: &CliError) {
        let mut message = error.to_string();
        for cause in causes(error) {
            message.push_str(&format!(": {cause}"));
        }
        self.warn(&message);
    }

    /// Reports a usage error, or prints the help or version that was asked for.
    pub(crate) fn usage(&self, error: &clap::Error) -> ExitCode {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if asked || !self.json {
            // A closed pipe is success, and another failure can't be reported.
            drop(error.print());
        } else {
            let text = error.to_string();
            let mut parts = text.splitn(2, "\n\n");
            let message = parts.next().unwrap_or_default().trim();
            write_document(&ErrorDocument {
                code: "usage",
                exit: exit_code::USAGE,
                message: message.strip_prefix("error: ").unwrap_or(message).to_owned(),
                causes: Vec::new(),
                help: parts.next().map(|help| help.trim().to_owned()),
                mistakes: Vec::new(),
                log: Vec::new(),
            });
        }
        if asked { ExitCode::SUCCESS } else { ExitCode::from(exit_code::USAGE) }
    }

    /// The text of an error: what failed, why, and what to do next.
    fn drawing(&self, error: &CliError) -> String {
        let mut drawing = String::new();
        let mistakes = error.mistakes();
        if mistakes.is_empty() {
            self.push(&mut drawing, "", paint::ERROR, "error:", &error.to_string());
        } else {
            self.push_mistakes(&mut drawing, mistakes);
        }
        for cause in causes(error) {
            self.push(&mut drawing, "  ", paint::STRONG, "caused by:", &cause);
        }
        let telling = |line: &&String| self.verbose || !is_routine(line);
        let log: Vec<&String> = error.details().iter().filter(telling).collect();
        if !log.is_empty() {
            drawing.push_str(&format!("  {}\n", self.paint.paint(paint::STRONG, "log:")));
            for line in log {
                drawing.push_str(&format!("    {}\n", escape(line)));
            }
        }
        if let Some(hint) = error.hint() {
            self.push(&mut drawing, "  ", paint::HINT, "hint:", &hint);
        }
        drawing
    }

    fn push(
        &self,
        drawing: &mut String,
        indent: &str,
        style: anstyle::Style,
        label: &str,
        text: &str,
    ) {
        let label = self.paint.paint(style, label);
        drawing.push_str(&format!("{indent}{label} {}\n", escape(text)));
    }

    fn push_mistakes(&self, drawing: &mut String, mistakes: &[Mistake]) {
        let label = self.paint.paint(paint::ERROR, "error:");
        for mistake in mistakes {
            drawing.push_str(&format!("{label} {}\n\n", escape_lines(&mistake.to_string())));
        }
    }
}

fn write_document(error: &ErrorDocument) {
    // Strings and numbers always have a JSON form.
    let text = serde_json::to_string(&Envelope { error }).unwrap_or_default();
    write(&format!("{text}\n"));
}

/// Writes `text` at once, so that the lines of two threads don't mix.
fn write(text: &str) {
    // A failure to write to stderr can't be reported.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use virshle_core::FileError;

    use super::*;

    fn error() -> CliError {
        CliError::from(FileError::Write {
            path: "/srv/\x1b[2J".into(),
            source: io::Error::from_raw_os_error(13),
        })
    }

    #[test]
    fn an_error_is_drawn_with_its_causes_and_the_next_step() {
        let drawing = Report::new(false, Paint::plain()).drawing(&error());
        let lines: Vec<&str> = drawing.lines().collect();
        assert_eq!(lines[0], "error: cannot write /srv/\\u{1b}[2J");
        assert_eq!(lines[1], "  caused by: Permission denied (os error 13)");
        assert!(lines[2].starts_with("  hint: "), "{drawing}");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn of_a_log_what_is_routine_takes_v() {
        use virshle_core::MachineError;
        use virshle_core::hypervisor::HypervisorError;
        let line =
            |level: &str| format!("cloud-hypervisor: 0.1s: <vmm> {level}:a.rs:1 -- it {level}");
        let error = CliError::from(MachineError::Hypervisor {
            vm: "web".parse().unwrap(),
            doing: "start",
            log: vec![line("INFO"), line("ERROR")],
            source: HypervisorError::Processes { source: io::Error::other("why") },
        });
        let mut report = Report::new(false, Paint::plain());
        let drawing = report.drawing(&error);
        assert!(drawing.contains("it ERROR") && !drawing.contains("it INFO"), "{drawing}");
        report.verbose = true;
        assert!(report.drawing(&error).contains("it INFO"));
        assert_eq!(ErrorDocument::new(&error).log.len(), 2);
    }

    #[test]
    fn an_error_as_json_has_the_same_content() {
        let document = serde_json::to_value(ErrorDocument::new(&error())).unwrap();
        assert_eq!(document["code"], "write-failed");
        assert_eq!(document["exit"], 5);
        assert_eq!(document["message"], "cannot write /srv/\x1b[2J");
        assert_eq!(document["causes"][0], "Permission denied (os error 13)");
        assert!(document["help"].is_string());
    }
}
