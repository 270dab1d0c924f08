//! `cargo bench -p virshle-hypervisor`: answers of the API, and the stream of events.
#![expect(clippy::unwrap_used, reason = "a bench that can't begin has nothing to tell")]

use std::time::Duration;

use divan::{Bencher, black_box};
use virshle_hypervisor::{Client, read_events};
use virshle_testkit::{FakeAnswer, FakeHypervisor};

fn main() {
    divan::main();
}

/// A request and its answer, with their way through a socket.
fn answer(bencher: Bencher<'_, '_>, name: &str, body: &str) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    let answers = [(name, FakeAnswer::Json(200, body.to_owned()))];
    let _server = FakeHypervisor::start(&socket, &answers).unwrap();
    let client = Client::connect(&socket, Duration::from_secs(10)).unwrap();
    match name {
        "vmm.ping" => bencher.bench_local(|| client.ping().map(drop).unwrap()),
        _ => bencher.bench_local(|| client.info().map(drop).unwrap()),
    }
}

#[divan::bench]
fn ping(bencher: Bencher<'_, '_>) {
    let body = "{\"build_version\":\"v53.0\",\"version\":\"53.0.0\",\"pid\":4711,\"features\":[]}";
    answer(bencher, "vmm.ping", body);
}

#[divan::bench]
fn info_of_a_large_machine(bencher: Bencher<'_, '_>) {
    let disks: Vec<String> = (0..100)
        .map(|disk| format!("{{\"path\":\"/vm/disk/{disk}\",\"id\":\"d{disk}\"}}"))
        .collect();
    let body = format!(
        "{{\"config\":{{\"cpus\":{{\"boot_vcpus\":1,\"max_vcpus\":1}},\"memory\":{{\"size\":1}},\
         \"disks\":[{}]}},\"state\":\"Running\",\"memory_actual_size\":1}}",
        disks.join(",")
    );
    answer(bencher, "vm.info", &body);
}

#[divan::bench(args = [10, 1000])]
fn events(bencher: Bencher<'_, '_>, count: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.json");
    let event = "{\n  \"timestamp\": {\n    \"secs\": 1,\n    \"nanos\": 2\n  },\n  \
         \"source\": \"virtio-device\",\n  \"event\": \"activated\",\n  \"properties\": {\n    \
         \"id\": \"_net1\"\n  }\n}\n\n";
    std::fs::write(&path, event.repeat(count)).unwrap();
    bencher.bench_local(|| read_events(black_box(&path)).unwrap().len());
}
