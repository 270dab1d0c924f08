//! `v man`: prints or writes the manual pages.

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use crate::context::Context;
use crate::error::CliError;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write the pages of all commands to DIR
    ///
    /// One file each: v.1, v-vm.1, v-vm-ls.1 …
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), CliError> {
    match &args.dir {
        None => {
            context.output.bytes(&page((context.command_line)(), Path::new("v.1"))?);
            Ok(())
        }
        Some(dir) => {
            std::fs::create_dir_all(dir)
                .map_err(|source| CliError::Manual { path: dir.clone(), source })?;
            let mut command = (context.command_line)();
            command.build();
            write_pages(dir, &command, "v")
        }
    }
}

/// Writes the page of `command`, and those of the commands below it.
fn write_pages(dir: &Path, command: &clap::Command, name: &str) -> Result<(), CliError> {
    let path = dir.join(format!("{name}.1"));
    // The page takes its title from the name, which has to live as long as the program.
    let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let page = page(command.clone().name(title), &path)?;
    std::fs::write(&path, page).map_err(|source| CliError::Manual { path, source })?;
    for below in command.get_subcommands() {
        write_pages(dir, below, &format!("{name}-{}", below.get_name()))?;
    }
    Ok(())
}

fn page(command: clap::Command, path: &Path) -> Result<Vec<u8>, CliError> {
    let mut page = Vec::new();
    Man::new(command)
        .source(concat!("virshle ", env!("CARGO_PKG_VERSION")))
        .manual("Virshle")
        .render(&mut page)
        .map_err(|source| CliError::Manual { path: path.to_owned(), source })?;
    Ok(page)
}
