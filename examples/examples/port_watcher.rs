//! Watches the ports of an Open vSwitch: `port_watcher [ADDRESS] [SECONDS]` prints each that comes, changes and goes, as
//! the database reports it. Nothing is polled: the switch says what has changed.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::time::{Duration, Instant};

use virshle_net::NetError;
use virshle_net::ovsdb::{Address, Client, MonitorRequest, Row, RowChange, Update, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().map(|text| text.parse()).transpose()?.unwrap_or_default();
    let seconds = arguments.next().map(|text| text.parse()).transpose()?.unwrap_or(1);
    match watch(&address, Duration::from_secs(seconds)) {
        Err(error @ NetError::Connect { .. }) => println!("no Open vSwitch here: {error}"),
        other => other?,
    }
    Ok(())
}

fn watch(address: &Address, time: Duration) -> Result<(), NetError> {
    let mut client = Client::connect(address, Duration::from_secs(5))?;
    let columns = MonitorRequest::new(&["name", "type", "ofport", "link_state", "error"]);
    // The first answer is what is there already.
    show(&client.monitor("Open_vSwitch", "ports", [("Interface", columns)])?);
    println!("watching the ports of {address}");
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if let Some(update) = client.next_update(left)? {
            show(&update);
        }
    }
    Ok(())
}

fn show(update: &Update) {
    for (_, change) in update.rows("Interface") {
        match change {
            RowChange::Present(row) => println!("+ {}", line(row)),
            RowChange::Modified { new, .. } => println!("~ {}", line(new)),
            RowChange::Deleted(row) => println!("- {}", line(row)),
            _ => {}
        }
    }
}

fn line(row: &Row) -> String {
    let text = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default();
    let number = row
        .get("ofport")
        .and_then(Value::as_i64)
        .map_or("none".into(), |number| number.to_string());
    format!(
        "{} type={:?} ofport={number} link={} {}",
        text("name"),
        text("type"),
        text("link_state"),
        text("error")
    )
}
