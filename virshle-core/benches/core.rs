//! `cargo bench -p virshle-core`: the store of machines. In `TMPDIR`.
#![expect(clippy::unwrap_used, reason = "a bench that can't begin has nothing to tell")]

use std::path::Path;

use divan::Bencher;
use tempfile::TempDir;
use virshle_core::template::Config;
use virshle_core::{CreateRequest, Node, Selection};

fn main() {
    divan::main();
}

/// A node with `count` machines.
fn node(count: u32) -> (TempDir, Node) {
    let directory = tempfile::tempdir().unwrap();
    let kernel = directory.path().join("kernel");
    std::fs::write(&kernel, "a kernel").unwrap();
    let text = format!(
        "[node]\nroot = \"{}/n\"\n[[template.vm]]\nname = \"t\"\nvcpu = 1\nvram = 1\nkernel = \"{}\"\n\
         [[template.vm.disk]]\nname = \"data\"\nsize = \"1G\"\n",
        directory.path().display(),
        kernel.display()
    );
    let config = Config::from_toml(&text, Path::new("/config.toml")).unwrap();
    let node = Node::new(config, None);
    for made in node.create(&CreateRequest::new("t").count(count), &|_| ()).unwrap() {
        drop(made.result.unwrap());
    }
    (directory, node)
}

#[divan::bench(args = [1, 100, 1000], sample_count = 20)]
fn list(bencher: Bencher<'_, '_>, count: u32) {
    let (_directory, node) = node(count);
    bencher.bench_local(|| node.list(&Selection::all()).unwrap().vms.len());
}

#[divan::bench(args = [1, 100, 1000], sample_count = 20)]
fn list_everything(bencher: Bencher<'_, '_>, count: u32) {
    let (_directory, node) = node(count);
    let vms = node.list(&Selection::all()).unwrap().vms;
    bencher.bench_local(|| node.infos(&vms).map(|info| info.map(drop).unwrap()).count());
}

#[divan::bench(args = [1, 1000], sample_count = 20)]
fn one_by_its_name(bencher: Bencher<'_, '_>, count: u32) {
    let (_directory, node) = node(count);
    let vms = node.list(&Selection::all()).unwrap().vms;
    let selection = Selection::word(vms[0].name.as_str());
    bencher.bench_local(|| node.select(&selection).unwrap().len());
}
