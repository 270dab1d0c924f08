//! Reads a configuration and shows its templates, or what is wrong with them.
//!
//! `cargo run -p virshle-examples --example check_template [FILE]`; without a file, a text with a
//! right template and a wrong one.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example prints")]

use std::path::Path;
use std::process::ExitCode;

use virshle_template::{Config, TemplateError, VmTemplate};

const TEXT: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = 2

[[template.vm.disk]]
name = "os"
path = "~/Iso/nixos.efi.img"
size = "50G"

[[template.vm.net]]
name = "main"
[template.vm.net.type.vhost]

[[template.vm]]
name = "wrong"
vcpus = 1
vram = "2 Gigs"
"#;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        // The mistakes of the text in this file are there to be shown.
        return match Config::from_toml(TEXT, Path::new("/etc/virshle/config.toml")) {
            Ok(config) => {
                show(&config);
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        };
    };
    match Config::load(Path::new(&path)) {
        Ok(config) => show(&config),
        Err(error) => fail(&error),
    }
}

fn show(config: &Config) -> ExitCode {
    for template in config.templates() {
        show_template(template);
    }
    for mistake in config.mistakes() {
        eprintln!("\n{mistake}");
    }
    if config.mistakes().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show_template(template: &VmTemplate) {
    println!("{}: {} vCPUs, {}", template.name, template.vcpus.boot, template.memory.size);
    for disk in &template.disks {
        let size = disk.size.map_or("as large as its image".to_owned(), |size| size.to_string());
        match (&disk.source, &disk.image) {
            (Some(path), _) => println!("  disk {}: {size}, from {}", disk.name, path.display()),
            (None, Some(image)) => println!("  disk {}: {size}, from image {image}", disk.name),
            (None, None) => println!("  disk {}: {size}, empty", disk.name),
        }
    }
    for net in &template.nets {
        println!("  net {}: {:?}", net.name, net.kind);
    }
}

fn fail(error: &TemplateError) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        eprintln!("  hint: {hint}");
    }
    ExitCode::FAILURE
}
