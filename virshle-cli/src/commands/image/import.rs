//! `v image import`

use clap::ValueEnum;
use virshle_core::disk::BackingFile;
use virshle_core::template::ByteSize;
use virshle_core::{Checksum, Expected, ImageName, ImportFormat, ImportRequest, ImportSource};

use crate::context::Context;
use crate::error::CliError;
use crate::progress::Progress;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The image: a file, or an http: or https: address
    #[arg(value_name = "FILE-OR-URL")]
    source: ImportSource,
    /// Call it NAME [default: the file's name without .qcow2, .img, .raw, .xz, .zst, .gz]
    #[arg(long)]
    name: Option<ImageName>,
    /// Keep it raw, whatever it is; as a qcow2, which it has to be; or as it is
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Raw)]
    format: Format,
    /// Take it only if its bytes, as they are downloaded, have this checksum
    #[arg(long, visible_alias = "sha512", value_name = "HEX", conflicts_with = "sha256sums")]
    sha256: Option<Checksum>,
    /// Take it only if its bytes have the checksum that this list has for the file's name
    #[arg(long, visible_alias = "sha512sums", value_name = "FILE-OR-URL")]
    sha256sums: Option<ImportSource>,
    /// Make a raw image of a qcow2 file and the image that it stands on; its header may name any
    /// file of this host for that, so do it with files you trust
    #[arg(long)]
    allow_backing_file: bool,
}

/// The formats by their words.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Raw,
    Qcow2,
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
    let progress = Progress::new(context);
    let imported = node.import_image(&request, &mut |step| progress.show_import(&step));
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
