//! Machines without root, each by a thread of its own: `threads [CONFIG TEMPLATE [COUNT]]` creates them together, then
//! starts, looks at, stops and removes each by itself, at once.
//!
//! Without arguments it has a template of its own, without a network, in a temporary directory.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::path::Path;

use virshle_core::template::Config;
use virshle_core::{
    CreateRequest, Force, Node, StartOptions, StopRequest, Vm, in_parallel, start_many,
};

const OWN: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"
net = []

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
    let count = arguments.get(2).map_or(Ok(4), |count| count.parse())?;
    // Without root a node is a directory of its user's; nothing else is asked for.
    let node = Node::new(config, Some(&directory.path().join("node")));
    let created = node.create(&CreateRequest::new(template).count(count), &|_| {})?;
    let machines =
        created.into_iter().map(|created| created.result).collect::<Result<Vec<_>, _>>()?;
    // Any number of threads and processes may use one node: each machine has one writer at a time.
    for line in in_parallel(machines, |vm| live(&vm)) {
        println!("{line}");
    }
    Ok(())
}

/// The life of one machine; what it came to, in a line.
fn live(vm: &Vm) -> String {
    let name = vm.name().to_string();
    let lived = start_many(std::slice::from_ref(vm), &StartOptions::default(), |_, result| result)
        .into_iter()
        .map(|started| match started {
            Ok(_) => {
                let state = vm.info().state;
                let stopped = vm.stop(&StopRequest::force());
                stopped.map_or_else(|error| error.to_string(), |_| format!("was {state}"))
            }
            Err(error) => format!("did not start: {error}"),
        })
        .collect::<Vec<_>>()
        .join(", ");
    match vm.remove(Force::Yes) {
        Ok(()) => format!("{name} {lived}"),
        Err(error) => format!("{name} {lived}, and is left: {error}"),
    }
}
