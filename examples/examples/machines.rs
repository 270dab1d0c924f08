//! Creates machines from a template, starts them if this host can, and removes them again.
//!
//! `machines CONFIG TEMPLATE [COUNT]` uses a configuration; without arguments a template of its
//! own, in a temporary directory.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::path::Path;

use virshle_core::template::Config;
use virshle_core::{CreateRequest, Force, Node, StartOptions, start_many};

const OWN: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"

[[template.vm.disk]]
name = "data"
size = "1G"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = tempfile::tempdir()?;
    let (config, template) = match arguments.as_slice() {
        [config, template, ..] => (Config::load(Path::new(config))?, template.as_str()),
        _ => (Config::from_toml(OWN, &directory.path().join("config.toml"))?, "xs"),
    };
    let count = arguments.get(2).map_or(Ok(3), |count| count.parse())?;
    // The machines live, for as long as this runs, in a directory of their own.
    let node = Node::new(config, Some(&directory.path().join("node")));

    let made = node.create(&CreateRequest::new(template).count(count), &|_| {})?;
    let machines = made.into_iter().map(|created| created.result).collect::<Result<Vec<_>, _>>()?;
    let started = start_many(&machines, &StartOptions::default(), |_, result| result);
    for (vm, result) in machines.iter().zip(&started) {
        match result {
            Ok(_) => println!("{} is {}", vm.name(), vm.state()),
            Err(error) => println!("{} stays {}: {error}", vm.name(), vm.state()),
        }
    }
    for vm in &machines {
        vm.remove(Force::Yes)?;
    }
    Ok(())
}
