//! The steps of an initialization, as they are printed.

use virshle_core::{InitOutcome, InitStep};

use crate::context::Context;
use crate::error::CliError;
use crate::escape::escape;
use crate::paint;

/// Prints the outcome of each step.
pub(super) fn show(steps: &[InitStep], context: &Context) -> Result<(), CliError> {
    if context.output.json {
        return context.output.json(steps);
    }
    for step in steps {
        let (outcome, style) = match step.outcome {
            InitOutcome::Made => ("created", paint::GOOD),
            InitOutcome::Would => ("would create", paint::WARNING),
            _ => ("exists", paint::FAINT),
        };
        let outcome = context.output.paint.paint(style, &format!("{outcome:12}"));
        context.output.line(&format!("{outcome}  {}", escape(&step.what)));
        // What is to be created is shown whole; what is there, or was created, by its name.
        if step.outcome == InitOutcome::Would {
            for line in &step.detail {
                context.output.line(&format!("{:14}{}", "", escape(line)));
            }
        }
    }
    Ok(())
}
