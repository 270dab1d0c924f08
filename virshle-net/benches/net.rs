//! `cargo bench -p virshle-net`: messages of OVSDB, and MAC addresses.
#![expect(clippy::unwrap_used, reason = "a bench that can't begin has nothing to tell")]

use std::time::Duration;

use divan::{Bencher, black_box};
use serde_json::{Value, json};
use virshle_net::MacAddr;
use virshle_net::ovsdb::{Client, Operation};
use virshle_testkit::{FakeOvsdb, OvsdbAct};

fn main() {
    divan::main();
}

/// The answer to a `select`, cut out of the stream and understood, with its way through a socket.
#[divan::bench(args = [1, 100, 1000])]
fn rows(bencher: Bencher<'_, '_>, count: usize) {
    let row = json!({
        "_uuid": ["uuid", "550e8400-e29b-41d4-a716-446655440000"],
        "name": "vm1-main",
        "ofport": 7,
        "external_ids": ["map", [["virshle-uuid", "550e8400-e29b-41d4-a716-446655440000"],
            ["virshle-name", "buzz_matala"], ["attached-mac", "52:54:00:00:00:01"]]],
        "trunks": ["set", [1, 2, 3]],
    });
    let rows: Vec<Value> = std::iter::repeat_n(row, count).collect();
    let answer = json!([{ "rows": rows }]);
    let server = FakeOvsdb::start(move |_| vec![OvsdbAct::Result(answer.clone())]).unwrap();
    let address = server.address().parse().unwrap();
    let mut client = Client::connect(&address, Duration::from_secs(10)).unwrap();
    let select = [Operation::select("Port", &[], &["name"])];
    bencher.bench_local(|| client.transact("Open_vSwitch", &select).unwrap());
}

#[divan::bench]
fn mac_from_text() -> MacAddr {
    black_box("52:54:00:12:ab:cd").parse().unwrap()
}

#[divan::bench]
fn mac_to_text(bencher: Bencher<'_, '_>) {
    let mac: MacAddr = "52:54:00:12:ab:cd".parse().unwrap();
    bencher.bench_local(|| black_box(&mac).to_string());
}

#[divan::bench]
fn mac_at_random() -> MacAddr {
    MacAddr::random().unwrap()
}
