//! `v template check`: reports every mistake of a configuration.

use std::path::{Path, PathBuf};

use serde::Serialize;
use virshle_core::template::{Config, Mistake, TemplateError};

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
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let path = match &args.file {
        // Neither option nor variable is to blame for an argument.
        Some(file) => file.clone(),
        None => context.config_path()?,
    };
    let (templates, mistakes) = match Config::load(&path) {
        Ok(config) => {
            let names = config.templates().map(|template| template.name.clone()).collect();
            (names, config.mistakes().to_vec())
        }
        Err(TemplateError::Mistakes { mistakes }) => (Vec::new(), mistakes),
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
        })?;
    } else if mistakes.is_empty() {
        let path = path.display().to_string();
        context.output.done(&format!(
            "{} is valid: {}",
            escape(&path),
            count(templates.len(), "template")
        ));
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
