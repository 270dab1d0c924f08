//! `v image pull`: downloads images by the names that people know them by.

use serde::Serialize;
use virshle_core::template::ByteSize;
use virshle_core::{ImageInfo, ImageReference, Node, Pulled};

use crate::candidates;
use crate::context::Context;
use crate::error::CliError;
use crate::progress::Progress;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Pull this image: a name, or name and version, such as debian or debian:13
    #[arg(value_name = "IMAGE", required = true, add = candidates::remote_images())]
    images: Vec<ImageReference>,
}

/// An image, as JSON.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    image: ImageInfo,
    /// What was asked for.
    reference: String,
    /// It was there already.
    was_there: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let mut documents = Vec::new();
    for reference in &args.images {
        let Pulled { image, was_there, .. } = pull(&node, reference, context)?;
        documents.push(Document { image, reference: reference.to_string(), was_there });
    }
    if context.output.json { context.output.json(&documents) } else { Ok(()) }
}

/// Pulls an image, with a bar on a terminal, and reports it.
pub(crate) fn pull(
    node: &Node,
    reference: &ImageReference,
    context: &Context,
) -> Result<Pulled, CliError> {
    let progress = Progress::new(context);
    let name = reference.to_string();
    let pulled = node.pull_image(reference, &mut |step| progress.show_pull(&name, &step));
    progress.end();
    let pulled = pulled?;
    let ImageInfo { name: own, format, size, allocated, imported, .. } = &pulled.image;
    if context.output.json {
        return Ok(pulled);
    }
    if pulled.was_there {
        let since = imported.as_ref().map(|time| format!(", since {time}")).unwrap_or_default();
        context.output.done(&format!("{reference} is there already, as {own}{since}"));
    } else {
        let (size, allocated) = (ByteSize::from_bytes(*size), ByteSize::from_bytes(*allocated));
        context
            .output
            .done(&format!("pulled {reference} as {own}: {format}, {size}, {allocated} on disk"));
    }
    Ok(pulled)
}
