//! `v image ls`: lists the images in the cache.

use anstyle::Style;
use virshle_core::template::ByteSize;
use virshle_core::{Expected, ImageInfo};

use crate::context::Context;
use crate::error::CliError;
use crate::report::ErrorDocument;
use crate::table::Table;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// List the images that `v image pull` knows
    ///
    /// For this machine's architecture: those of distributions, and those of [[catalogue.image]] in the
    /// configuration
    #[arg(long)]
    remote: bool,
}

/// An image that can be pulled, as JSON.
#[derive(serde::Serialize)]
struct Remote<'a> {
    name: String,
    version: &'a str,
    aliases: &'a [String],
    source: String,
    checksums: Option<String>,
    user: Option<&'a str>,
    /// Its name alone, without a version, stands for it.
    default: bool,
    /// The name that it has in the cache, if it is there.
    cached: Option<String>,
}

/// An image, or the error of a file that is none.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Listed<'a> {
    Image(&'a ImageInfo),
    Unfit { error: ErrorDocument },
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    if args.remote {
        return remote(context);
    }
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

/// Lists what can be pulled.
fn remote(context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let listing = node.images()?;
    let catalogue = node.catalogue();
    let remote = catalogue.images().map(|image| {
        let name = image.image_name().ok().map(|name| name.to_string());
        Remote {
            name: image.name.clone(),
            version: &image.version,
            aliases: &image.aliases,
            source: image.source.to_string(),
            checksums: image.expected.as_ref().map(|expected| match expected {
                Expected::Listed(list) => list.to_string(),
                Expected::Checksum(sum) => sum.to_string(),
                _ => String::new(),
            }),
            user: image.user.as_deref(),
            default: image.is_default,
            cached: name.filter(|name| listing.images.iter().any(|one| one.name == *name)),
        }
    });
    let remote: Vec<Remote<'_>> = remote.collect();
    if context.output.json {
        return context.output.json(&remote);
    }
    let mut table = Table::new(context.output.paint, ["image", "also", "user", "cached", "from"]);
    for image in remote {
        let short = image.default.then(|| image.name.clone());
        let aliases = image.aliases.iter().map(|alias| format!("{}:{alias}", image.name));
        let cells = [
            format!("{}:{}", image.name, image.version),
            short.into_iter().chain(aliases).collect::<Vec<_>>().join(", "),
            image.user.unwrap_or_default().to_owned(),
            image.cached.unwrap_or_default(),
            place(&image.source).to_owned(),
        ];
        table.row(cells.map(|cell| (cell, Style::new())));
    }
    context.output.table("", table);
    Ok(())
}

/// The server of an address; a path as it is. The whole would be wider than a terminal.
fn place(source: &str) -> &str {
    let server = source.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    server.unwrap_or(source)
}
