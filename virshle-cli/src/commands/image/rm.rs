//! `v image rm`

use serde::Serialize;
use virshle_core::ImageName;

use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The image's name
    name: ImageName,
}

/// What is left to say of an image that was removed.
#[derive(Serialize)]
struct Identity<'a> {
    name: &'a ImageName,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    context.node()?.remove_image(&args.name)?;
    if context.output.json {
        return context.output.json(&Identity { name: &args.name });
    }
    context.output.done(&format!("removed {}", args.name));
    Ok(())
}
