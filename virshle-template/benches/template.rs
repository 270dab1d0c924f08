//! `cargo bench -p virshle-template`: how long a configuration takes to understand.
#![expect(clippy::unwrap_used, reason = "a bench that can't begin has nothing to tell")]

use std::path::Path;

use divan::{Bencher, black_box};
use virshle_template::{ByteSize, Config};

fn main() {
    divan::main();
}

fn configuration(templates: usize) -> String {
    let mut text = String::from("[node]\nalias = \"deku\"\n");
    for number in 0..templates {
        text.push_str(&format!(
            "[[template.vm]]\nname = \"t{number}\"\nvcpu = 1\nvram = \"2GiB\"\n\
             [[template.vm.disk]]\nname = \"os\"\npath = \"/images/nixos.img\"\nsize = \"50G\"\n\
             [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.vhost]\n"
        ));
    }
    text
}

#[divan::bench(args = [1, 10, 100])]
fn templates(bencher: Bencher<'_, '_>, count: usize) {
    let text = configuration(count);
    bencher.bench(|| Config::from_toml(black_box(&text), Path::new("/config.toml")).unwrap());
}

#[divan::bench]
fn a_mistake_and_its_remedy(bencher: Bencher<'_, '_>) {
    let text = configuration(10).replace("size = \"50G\"", "mass = \"50G\"");
    bencher.bench(|| Config::from_toml(black_box(&text), Path::new("/config.toml")).is_ok());
}

#[divan::bench(args = ["50G", "512MiB", "1.5GB"])]
fn size(text: &str) -> bool {
    black_box(text).parse::<ByteSize>().is_ok()
}
