//! `v image rm`: removes an image.

use serde::Serialize;
use virshle_core::ImageName;

use crate::candidates;
use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Remove this image
    #[arg(add = candidates::images())]
    name: ImageName,
}

/// A removed image, as JSON.
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
