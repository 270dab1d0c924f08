//! Servers that misbehave.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use virshle_net::ovsdb::{Client, MonitorRequest, Operation};
use virshle_net::{NetError, Switch};
use virshle_testkit::{FakeOvsdb, OvsdbAct};

use crate::{IN_TIME, PATIENCE};

fn client(
    answer: impl FnMut(&Value) -> Vec<OvsdbAct> + Send + 'static,
    timeout: Duration,
) -> (FakeOvsdb, Client) {
    let fake = FakeOvsdb::start(answer).unwrap();
    let client = Client::connect(&fake.address().parse().unwrap(), timeout).unwrap();
    (fake, client)
}

fn always(acts: Vec<OvsdbAct>) -> (FakeOvsdb, Client) {
    client(move |_| acts.clone(), PATIENCE)
}

fn bytes(text: &str) -> OvsdbAct {
    OvsdbAct::Bytes(text.into())
}

#[test]
fn silence_ends_at_the_deadline_and_names_what_was_awaited() {
    let (_fake, mut client) = client(|_| Vec::new(), Duration::from_millis(100));
    let begin = Instant::now();
    let error = client.list_dbs().unwrap_err();
    assert!(error.to_string().ends_with("gave no answer to list_dbs within 100ms"), "{error}");
    assert!(begin.elapsed() < IN_TIME);
}

/// Two waits that were added to each other overflowed.
#[test]
fn no_timeout_is_too_long() {
    let acknowledge = |request: &Value| {
        vec![bytes(&json!({"id": request["id"], "result": [{}], "error": null}).to_string())]
    };
    let fake = FakeOvsdb::start(acknowledge).unwrap();
    let mut switch = Switch::connect(&fake.address().parse().unwrap(), Duration::MAX).unwrap();
    switch.wait_for_link(&["vm1-main", "vm1-other"], Duration::MAX).unwrap();
    let (_fake, mut client) = client(acknowledge, Duration::MAX);
    client.set_timeout(Duration::MAX);
    client.transact("Open_vSwitch", &[Operation::comment("hello")]).unwrap();
}

#[test]
fn garbage_is_an_error() {
    for garbage in ["hello", "[]", "{]", "\u{0}\u{1}", "{\"id\": 0, \"result\": }", "HTTP/1.1 400"]
    {
        let (_fake, mut client) = always(vec![bytes(garbage)]);
        let error = client.list_dbs().unwrap_err();
        assert!(matches!(error, NetError::Malformed { .. }), "{garbage}: {error}");
    }
}

#[test]
fn half_an_answer_and_the_end_is_an_error() {
    let (_fake, mut client) = always(vec![bytes("{\"id\":0,\"resul"), OvsdbAct::Close]);
    let error = client.list_dbs().unwrap_err();
    assert!(matches!(error, NetError::Closed { .. }), "{error}");
}

#[test]
fn an_endless_message_is_cut_off_at_the_limit() {
    let (_fake, mut client) = always(vec![OvsdbAct::Endless]);
    let error = client.list_dbs().unwrap_err();
    assert!(error.to_string().ends_with("a message has more than 67108864 bytes"), "{error}");
}

#[test]
fn an_endless_stream_of_messages_ends_at_the_deadline() {
    let chatter =
        json!({"method": "chatter", "params": [], "id": null}).to_string().repeat(200_000);
    let (_fake, mut client) = client(move |_| vec![bytes(&chatter)], Duration::from_millis(20));
    let begin = Instant::now();
    assert!(matches!(client.list_dbs(), Err(NetError::TimedOut { .. })));
    assert!(begin.elapsed() < IN_TIME);
}

#[test]
fn the_servers_echo_is_answered_in_the_middle_of_a_call() {
    let echo = json!({"method": "echo", "params": ["are you there"], "id": "echo"});
    let odd = json!({"method": "steal", "params": [], "id": 9});
    let note = json!({"method": "locked", "params": ["x"], "id": null});
    let (fake, mut client) = client(
        move |request| match request["method"].as_str() {
            Some("list_dbs") => vec![
                OvsdbAct::Message(echo.clone()),
                OvsdbAct::Message(odd.clone()),
                OvsdbAct::Message(note.clone()),
                OvsdbAct::Result(json!(["Open_vSwitch"])),
            ],
            _ => vec![OvsdbAct::Result(request["params"].clone())],
        },
        PATIENCE,
    );
    assert_eq!(client.list_dbs().unwrap(), ["Open_vSwitch"]);
    // The fake has read our answers when it answers this.
    client.echo().unwrap();
    let received = fake.received();
    assert_eq!(received[0], json!({"id": "echo", "result": ["are you there"], "error": null}));
    assert_eq!(received[1], json!({"id": 9, "result": null, "error": "unknown method"}));
}

#[test]
fn answers_of_the_wrong_shape_are_errors() {
    let answers = [
        json!(null),
        json!(1),
        json!([1]),
        json!({"a": 1}),
        json!([{"uuid": 7}, {}]),
        json!([[], []]),
        json!([{"rows": [{"c": {}}]}]),
        json!([{"error": "x"}]),
        json!([null]),
    ];
    for answer in answers {
        let (_fake, mut client) = always(vec![OvsdbAct::Result(answer.clone())]);
        let select = Operation::select("Port", &[], &["c"]);
        let error = client.transact("Open_vSwitch", &[select]).unwrap_err();
        let fits = matches!(error, NetError::Malformed { .. } | NetError::Operation { .. });
        assert!(fits, "{answer}: {error}");
        let monitored =
            client.monitor("Open_vSwitch", "m", [("Port", MonitorRequest::new(&["c"]))]);
        assert!(monitored.is_err() || answer == json!({"a": 1}), "{answer}");
    }
}

#[test]
fn a_refusal_has_the_servers_message() {
    let (_fake, mut client) = always(vec![OvsdbAct::Error(json!("unknown database"))]);
    let error = client.get_schema("x").unwrap_err();
    assert!(error.to_string().ends_with("refused get_schema: \"unknown database\""), "{error}");
}

#[test]
fn an_answer_in_single_bytes_is_read() {
    let (_fake, mut client) = client(
        |request| {
            let answer = json!({"id": request["id"], "result": ["é\"}{"], "error": null});
            answer.to_string().into_bytes().into_iter().map(|b| OvsdbAct::Bytes(vec![b])).collect()
        },
        PATIENCE,
    );
    assert_eq!(client.list_dbs().unwrap(), ["é\"}{"]);
}

#[test]
fn mangled_answers_never_panic_and_never_outlast_the_deadline() {
    let sample = json!({"id": 0, "error": null, "result": [{"uuid": ["uuid", "550e8400-e29b-41d4-a716-446655440000"]},
        {"rows": [{"_uuid": ["uuid", "550e8400-e29b-41d4-a716-446655440000"], "tag": ["set", []],
            "external_ids": ["map", [["a", "b"]]], "ofport": 7, "error": ""}]}, {"count": 1}]})
    .to_string();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..400 {
        let mut bytes = sample.clone().into_bytes();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"{}[]\"\\:,0"[random(9)]),
            }
        }
        let acts = vec![OvsdbAct::Bytes(bytes), OvsdbAct::Close];
        let (_fake, mut client) = client(move |_| acts.clone(), Duration::from_secs(1));
        let operations = [(); 3].map(|()| Operation::comment("x"));
        // Any answer will do; that there is one is the point.
        drop(client.transact("Open_vSwitch", &operations));
    }
}
