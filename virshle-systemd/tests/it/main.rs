//! Tests of the crate as its users see it: a fake manager that speaks the real wire.

#![expect(clippy::unwrap_used, reason = "a test's helper fails the test")]

use std::time::{Duration, Instant};

use virshle_systemd::{Manager, Property, SystemdError, UnitName};
use virshle_testkit::{BusAct, FakeSystemd};

/// Only what has gone wrong takes that long.
const LONG: Duration = Duration::from_secs(30);
/// For waits that are to end without an answer.
const SHORT: Duration = Duration::from_millis(50);

fn scope() -> UnitName {
    UnitName::new("virshle-web", "scope").unwrap()
}

/// What becomes of a call to a manager that does `act`.
fn outcome(act: BusAct) -> Result<Option<String>, SystemdError> {
    let fake = FakeSystemd::start(move |_| act.clone()).unwrap();
    let mut connection = Manager::at(fake.socket()).connect(LONG)?;
    let call = connection.start_transient_unit(&scope(), &[])?;
    connection.wait(call, SHORT)
}

#[test]
fn a_manager_receives_what_was_asked() {
    let fake = FakeSystemd::willing().unwrap();
    let mut connection = Manager::at(fake.socket()).connect(LONG).unwrap();
    let properties = [
        Property::processes(&[7, 8]),
        Property::text("Slice", "machine.slice"),
        Property::texts("Before", ["virshle.service"]),
        Property::flag("CPUAccounting", true),
        Property::number("MemoryMax", 1 << 40),
        Property::set("AllowedCPUs", [0, 9]),
        Property::once_after(Duration::from_secs(2)),
    ];
    let call = connection.start_transient_unit(&scope(), &properties).unwrap();
    let job = connection.wait(call, LONG).unwrap();
    assert_eq!(job.as_deref(), Some("/org/freedesktop/systemd1/job/7"));
    let state = connection.get_property("SystemState").unwrap();
    assert_eq!(connection.wait(state, LONG).unwrap().as_deref(), Some("running"));

    let calls = fake.calls();
    assert_eq!(calls[0].method, "StartTransientUnit");
    assert_eq!(
        (calls[0].unit(), calls[0].arguments[1].as_str()),
        ("virshle-web.scope", Some("fail"))
    );
    let received = serde_json::Value::from(calls[0].properties());
    let expected = serde_json::json!({
        "PIDs": [7, 8], "Slice": "machine.slice", "Before": ["virshle.service"],
        "CPUAccounting": true, "MemoryMax": 1_u64 << 40, "AllowedCPUs": [1, 2],
        "TimersMonotonic": [["OnActiveSec", 2_000_000]],
    });
    assert_eq!(received, expected);
    assert_eq!(calls[0].arguments[3], serde_json::json!([]));
    let asked = ["org.freedesktop.systemd1.Manager", "SystemState"];
    assert_eq!(calls[1].arguments, asked.map(serde_json::Value::from));
}

#[test]
fn answers_come_when_they_are_waited_for_in_any_order() {
    let fake = FakeSystemd::willing().unwrap();
    let mut connection = Manager::at(fake.socket()).connect(LONG).unwrap();
    let first = connection.start_transient_unit(&scope(), &[]).unwrap();
    let second = connection.get_property("Version").unwrap();
    assert_eq!(connection.wait(second, LONG).unwrap().as_deref(), Some("running"));
    // It came before that one, and was passed over: an answer is waited for in the order of its call.
    assert!(matches!(connection.wait(first, SHORT), Err(SystemdError::Silent { .. })));
}

#[test]
fn a_refusal_has_the_managers_own_words() {
    let error = outcome(BusAct::Error("org.freedesktop.systemd1.UnitExists", "it is there"));
    let error = error.unwrap_err();
    assert!(error.is_taken() && !error.is_absent(), "{error:?}");
    assert!(error.to_string().contains("it is there"), "{error}");
    let error = outcome(BusAct::Error("org.freedesktop.systemd1.NoSuchUnit", "")).unwrap_err();
    assert!(error.is_absent(), "{error:?}");
}

#[test]
fn a_silent_manager_costs_the_deadline_and_no_more() {
    let begin = Instant::now();
    assert!(matches!(outcome(BusAct::Silence), Err(SystemdError::Silent { .. })));
    assert!(begin.elapsed() >= SHORT);
    // One that says half a message is silent, too.
    let half = BusAct::Bytes(b"l\x02\x01\x01\0".to_vec());
    assert!(matches!(outcome(half), Err(SystemdError::Silent { .. })));
}

#[test]
fn a_manager_that_goes_or_talks_nonsense_is_an_error() {
    assert!(matches!(outcome(BusAct::Close), Err(SystemdError::Broken { .. })));
    let nonsense = BusAct::Bytes(vec![b'x'; 64]);
    assert!(matches!(outcome(nonsense), Err(SystemdError::Malformed { .. })));
    let long = [b"l\x02\x01\x01".as_slice(), &[255; 12]].concat();
    assert!(matches!(outcome(BusAct::Bytes(long)), Err(SystemdError::Malformed { .. })));
    let nowhere = Manager::at("/nowhere/private").connect(SHORT);
    assert!(matches!(nowhere, Err(SystemdError::Connect { .. })));
}

#[test]
fn a_manager_that_accepts_no_one_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("full");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let manager = Manager::at(&socket);
    // As many as wait without being accepted, whatever this host's limit is.
    let mut waiting = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < LONG {
        match manager.connect(SHORT) {
            Ok(connection) => waiting.push(connection),
            Err(error) => {
                assert!(matches!(error, SystemdError::Connect { .. }), "{error:?}");
                return;
            }
        }
        if waiting.len() > 5000 {
            // This host lets more of them wait than a test can have open.
            return;
        }
    }
    panic!("{} connections in {LONG:?}", waiting.len());
}
