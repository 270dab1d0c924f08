//! `v image info`: shows details of an image.

use virshle_core::ImageName;
use virshle_core::template::ByteSize;

use crate::candidates;
use crate::context::Context;
use crate::error::CliError;
use crate::paint;
use crate::sheet::Sheet;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Show this image
    #[arg(add = candidates::images())]
    name: ImageName,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    let image = context.node()?.image(&args.name)?;
    if context.output.json {
        return context.output.json(&image);
    }
    let mut sheet = Sheet::new(context.output.paint);
    sheet.styled("name", image.name, paint::STRONG);
    sheet.line("format", image.format);
    sheet.line("size", ByteSize::from_bytes(image.size).to_string());
    sheet.line("allocated", ByteSize::from_bytes(image.allocated).to_string());
    sheet.line("file", image.path.display().to_string());
    sheet.maybe("source", image.source);
    sheet.maybe("sha256", image.sha256);
    let verified = image.verified.map(|verified| if verified { "yes" } else { "no" });
    sheet.maybe("verified", verified.map(ToOwned::to_owned));
    sheet.maybe("imported", image.imported);
    for overlay in image.overlays {
        sheet.line("overlay", overlay);
    }
    context.output.text(&sheet.draw());
    Ok(())
}
