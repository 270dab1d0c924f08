//! `v image ls`: lists the images in the cache.

use anstyle::Style;
use virshle_core::ImageInfo;
use virshle_core::template::ByteSize;

use crate::context::Context;
use crate::error::CliError;
use crate::report::ErrorDocument;
use crate::table::Table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

/// An image, or the error of a file that is none.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Listed<'a> {
    Image(&'a ImageInfo),
    Unfit { error: ErrorDocument },
}

pub(crate) fn run(_: &Args, context: &Context) -> Result<(), CliError> {
    let listing = context.node()?.images()?;
    let output = &context.output;
    let broken: Vec<CliError> = listing.broken.into_iter().map(CliError::from).collect();
    if output.json {
        let unfit = broken.iter().map(|error| Listed::Unfit { error: ErrorDocument::new(error) });
        output.json(&listing.images.iter().map(Listed::Image).chain(unfit).collect::<Vec<_>>())?;
    } else {
        let columns = ["name", "format", "size", "allocated", "imported", "source"];
        let mut table = Table::new(output.paint, columns);
        for image in listing.images {
            let cells = [
                image.name,
                image.format,
                ByteSize::from_bytes(image.size).to_string(),
                ByteSize::from_bytes(image.allocated).to_string(),
                image.imported.unwrap_or_default(),
                image.source.unwrap_or_default(),
            ];
            table.row(cells.map(|cell| (cell, Style::new())));
        }
        output.table("", table);
        // Users keep files of their own in this directory: one that is no image is no failure.
        broken.iter().for_each(|error| context.report.warn_of(error));
    }
    for import in listing.unfinished {
        let done = ByteSize::from_bytes(import.done);
        let of = import.total.map(|total| format!(" of {}", ByteSize::from_bytes(total)));
        let name = &import.name;
        output.note(&crate::escape::escape(&format!(
            "{name}: incomplete download, {done}{}; resume with `v image import --name {name} {}`, \
             discard with `v image rm {name}`",
            of.unwrap_or_default(),
            import.source,
        )));
    }
    Ok(())
}
