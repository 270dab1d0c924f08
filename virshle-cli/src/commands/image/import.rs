//! `v image import`: imports an image into the cache.

use clap::ValueEnum;
use virshle_core::disk::BackingFile;
use virshle_core::template::ByteSize;
use virshle_core::{Checksum, Expected, ImageName, ImportFormat, ImportRequest, ImportSource};

use crate::context::Context;
use crate::error::CliError;
use crate::progress::Progress;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Import this file, or http: or https: URL
    #[arg(value_name = "FILE-OR-URL")]
    source: ImportSource,
    /// Store it as NAME [default: the file name without suffixes]
    ///
    /// The suffixes that are left out are .qcow2, .img, .raw, .xz, .zst and .gz
    #[arg(long)]
    name: Option<ImageName>,
    /// Store it in this format
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Raw)]
    format: Format,
    /// Require the file to have this SHA-256 or SHA-512 checksum
    ///
    /// The checksum is that of the file as downloaded, before it is decompressed
    #[arg(long, visible_alias = "sha512", value_name = "HEX", conflicts_with = "sha256sums")]
    sha256: Option<Checksum>,
    /// Require the checksum that this list has for the file
    ///
    /// A list such as SHA256SUMS or SHA512SUMS, as it is published beside images; the file is looked
    /// up by its name
    #[arg(long, visible_alias = "sha512sums", value_name = "FILE-OR-URL")]
    sha256sums: Option<ImportSource>,
    /// Refuse an image that is larger than SIZE
    ///
    /// A size such as 20G or 512MiB: of the image as its guest sees it, of the download, and of what is
    /// decompressed. However large it may be, an import stops before the filesystem is full
    #[arg(long, value_name = "SIZE")]
    max_size: Option<ByteSize>,
    /// Accept a qcow2 image that has a backing file
    ///
    /// The stored image contains both. The header of a qcow2 image may name any file of this host as
    /// its backing file: import only images that you trust
    #[arg(long)]
    allow_backing_file: bool,
}

/// The format in which an image is stored.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Raw, converted if necessary
    Raw,
    /// qcow2; the image must be qcow2
    Qcow2,
    /// Unchanged
    Keep,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), CliError> {
    let node = context.node()?;
    let mut request = ImportRequest::new(args.source).format(match args.format {
        Format::Raw => ImportFormat::Raw,
        Format::Qcow2 => ImportFormat::Qcow2,
        Format::Keep => ImportFormat::Keep,
    });
    if let Some(name) = args.name {
        request = request.name(name);
    }
    let listed = args.sha256sums.map(Expected::Listed);
    if let Some(expected) = args.sha256.map(Expected::Checksum).or(listed) {
        request = request.expected(expected);
    }
    if args.allow_backing_file {
        request = request.backing_file(BackingFile::Follow);
    }
    if let Some(max_size) = args.max_size {
        request = request.most_bytes(max_size.bytes());
    }
    // A program reads it in the document: `verified`. What is refused before it begins needs no warning.
    let mut warns = request.is_open_to_change() && !context.output.json;
    let progress = Progress::new(context);
    let imported = node.import_image(&request, &mut |step| {
        if std::mem::take(&mut warns) {
            context.report.warn(
                "it comes over http, and no checksum is compared that came another way: anyone on the \
                 way can change it; pass --sha256, or --sha256sums with a file or an https: URL",
            );
        }
        progress.show_import(&step);
    });
    progress.end();
    let image = imported?;
    if context.output.json {
        return context.output.json(&image);
    }
    context.output.done(&format!(
        "imported {}: {}, {}, {} on disk",
        image.name,
        image.format,
        ByteSize::from_bytes(image.size),
        ByteSize::from_bytes(image.allocated)
    ));
    Ok(())
}
