//! `v template check`: reports every mistake of a configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use virshle_core::template::{Config, Mistake, TemplateError, VmTemplate};
use virshle_core::{Oversize, oversize};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Check FILE [default: the configuration that is in use]
    file: Option<PathBuf>,
}

/// The result of a check, as JSON.
#[derive(Serialize)]
struct Checked<'a> {
    path: &'a Path,
    /// The names of the valid templates.
    templates: Vec<&'a str>,
    mistakes: &'a [Mistake],
    /// What is valid, and too large for this host.
    warnings: &'a [Warning],
}

/// What is odd in a template, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Warning {
    template: String,
    message: String,
    /// What to do about it.
    help: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "template {:?}: {}; {}", self.template, self.message, self.help)
    }
}

/// What is too large for this host in a template.
pub(crate) fn warnings(template: &VmTemplate) -> Vec<Warning> {
    let warning = |one: Oversize| Warning {
        template: template.name.clone(),
        message: one.to_string(),
        help: one.hint(),
    };
    oversize(template).into_iter().map(warning).collect()
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let path = match &args.file {
        // Neither option nor variable is to blame for an argument.
        Some(file) => file.clone(),
        None => context.config_path()?,
    };
    let (templates, mistakes, warnings) = match Config::load(&path) {
        Ok(config) => {
            let names = config.templates().map(|template| template.name.clone()).collect();
            (names, config.mistakes().to_vec(), config.templates().flat_map(warnings).collect())
        }
        Err(TemplateError::Mistakes { mistakes }) => (Vec::new(), mistakes, Vec::new()),
        Err(TemplateError::Read { path, source }) if args.file.is_some() => {
            return Err(CliError::File { path, source });
        }
        Err(error) => return Err(error.into()),
    };
    if context.output.json {
        context.output.json(&Checked {
            path: &path,
            templates: templates.iter().map(String::as_str).collect(),
            mistakes: &mistakes,
            warnings: &warnings,
        })?;
    } else if mistakes.is_empty() {
        let path = path.display().to_string();
        context.output.done(&format!(
            "{} is valid: {}",
            escape(&path),
            count(templates.len(), "template")
        ));
    }
    if !context.output.json {
        warnings.iter().for_each(|warning| context.report.warn(&warning.to_string()));
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    context.report.draw_mistakes(&mistakes);
    Err(CliError::Configuration { path, mistakes: count(mistakes.len(), "mistake") })
}

fn count(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
