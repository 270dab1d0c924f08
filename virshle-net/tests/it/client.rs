use std::process::Command;
use std::time::Duration;

use virshle_net::NetError;
use virshle_net::ovsdb::{
    Address, Client, Condition, MonitorRequest, Mutation, Mutator, Operation, Row, RowChange,
    Until, Value,
};
use virshle_testkit_macros::test_on;

use crate::{Lab, PATIENCE};

const DB: &str = "Open_vSwitch";

fn connect(lab: &Lab) -> Client {
    Client::connect(&lab.ovs.address().parse().unwrap(), PATIENCE).unwrap()
}

#[test_on(Ovs)]
fn ovs_databases_and_schemas_are_listed() {
    let lab = Lab::new();
    let mut client = connect(&lab);
    assert!(client.list_dbs().unwrap().contains(&DB.to_owned()));
    let schema = client.get_schema(DB).unwrap();
    assert_eq!(schema["name"], DB);
    assert!(schema["tables"]["Bridge"]["columns"]["ports"].is_object());
    let error = client.get_schema("nothing").unwrap_err();
    assert!(matches!(error, NetError::Refused { .. }), "{error}");
    client.echo().unwrap();
    assert!(client.peer().is_some());
}

#[test_on(Ovs)]
fn ovs_every_operation_does_its_work() {
    let lab = Lab::new();
    let mut client = connect(&lab);
    // A table whose rows need no reference.
    let row = Row::from([("external_ids".into(), Value::map([("who", "test")]))]);
    let ours = [Condition::includes("external_ids", Value::map([("who", "test")]))];
    let outcomes = client
        .transact(
            DB,
            &[
                Operation::insert("QoS", &row).named("q"),
                Operation::comment("a test"),
                Operation::select("QoS", &ours, &["_uuid", "type"]),
                Operation::commit_durably(),
            ],
        )
        .unwrap();
    let uuid = outcomes[0].uuid.unwrap();
    assert_eq!(outcomes[2].rows[0]["_uuid"].as_uuid(), Some(uuid));

    let linux = Row::from([("type".into(), "linux-htb".into())]);
    let outcomes = client
        .transact(
            DB,
            &[
                Operation::wait(
                    "QoS",
                    &ours,
                    &["type"],
                    Until::NotEqual,
                    std::slice::from_ref(&linux),
                    Duration::ZERO,
                ),
                Operation::update("QoS", &[Condition::uuid(uuid)], &linux),
                Operation::wait("QoS", &ours, &["type"], Until::Equal, &[linux], Duration::ZERO),
                Operation::mutate(
                    "QoS",
                    &ours,
                    [Mutation::insert("external_ids", Value::map([("more", "1")]))],
                ),
                Operation::mutate(
                    "Open_vSwitch",
                    &[],
                    [Mutation::new("next_cfg", Mutator::Add, 2)],
                ),
                Operation::delete("QoS", &ours),
                Operation::select("QoS", &ours, &["_uuid"]),
            ],
        )
        .unwrap();
    let counts: Vec<_> = outcomes.iter().map(|outcome| outcome.count).collect();
    assert_eq!(counts, [None, Some(1), None, Some(1), Some(1), Some(1), None]);
    assert!(outcomes[6].rows.is_empty());
}

#[test_on(Ovs)]
fn ovs_a_failed_operation_is_named_and_nothing_is_done() {
    let lab = Lab::new();
    let mut client = connect(&lab);
    let failures: [(Operation, &str); 5] = [
        (Operation::abort(), "aborted"),
        (Operation::assert("nobody"), "not owner"),
        (Operation::select("Nowhere", &[], &[]), "syntax error"),
        (
            Operation::wait("QoS", &[], &["type"], Until::Equal, &[], Duration::from_millis(50)),
            "timed out",
        ),
        (Operation::insert("QoS", &Row::from([("nothing".into(), 1.into())])), "unknown column"),
    ];
    for (operation, expected) in failures {
        let insert = Operation::insert("QoS", &Row::new());
        let error = client.transact(DB, &[insert, operation]).unwrap_err();
        let NetError::Operation { index, error, .. } = &error else { panic!("{error}") };
        assert_eq!((*index, error.as_str()), (1, expected));
    }
    let select = Operation::select("QoS", &[], &["_uuid"]);
    assert!(client.transact(DB, &[select]).unwrap()[0].rows.is_empty());
}

#[test_on(Ovs)]
fn ovs_a_monitor_reports_what_others_change_until_it_is_cancelled() {
    let lab = Lab::new();
    let (mut client, mut other) = (connect(&lab), connect(&lab));
    let request = || [("QoS", MonitorRequest::new(&["type"]))];
    assert_eq!(client.monitor(DB, "mine", request()).unwrap().rows("QoS").count(), 0);
    assert_eq!(client.next_update(Duration::ZERO).unwrap(), None);

    let typed = |kind: &str| Row::from([("type".into(), kind.into())]);
    let made = other.transact(DB, &[Operation::insert("QoS", &typed("a"))]).unwrap();
    let row = [Condition::uuid(made[0].uuid.unwrap())];
    other.transact(DB, &[Operation::update("QoS", &row, &typed("b"))]).unwrap();
    other.transact(DB, &[Operation::delete("QoS", &row)]).unwrap();
    let mut next = || {
        let update = client.next_update(PATIENCE).unwrap().unwrap();
        assert_eq!(update.monitor, "mine");
        update.rows("QoS").next().unwrap().1.clone()
    };
    assert_eq!(next(), RowChange::Present(typed("a")));
    assert_eq!(next(), RowChange::Modified { old: typed("a"), new: typed("b") });
    assert_eq!(next(), RowChange::Deleted(typed("b")));

    client.monitor_cancel("mine").unwrap();
    assert!(client.monitor_cancel("mine").is_err());
    other.transact(DB, &[Operation::insert("QoS", &typed("c"))]).unwrap();
    assert_eq!(client.next_update(Duration::from_millis(50)).unwrap(), None);
}

#[test_on(Ovs)]
fn ovs_tcp_works_as_well() {
    let lab = Lab::new();
    let control = lab.ovs.directory().join("ovsdb-server.ctl");
    // It listens after it has answered: the second answer says that it does.
    for args in
        [&["ovsdb-server/add-remote", "ptcp:6640:127.0.0.1"][..], &["ovsdb-server/list-remotes"]]
    {
        let status = Command::new("ovs-appctl").arg("-t").arg(&control).args(args).status();
        assert!(status.unwrap().success());
    }
    let address: Address = "tcp:127.0.0.1".parse().unwrap();
    let mut client = Client::connect(&address, PATIENCE).unwrap();
    client.echo().unwrap();
    assert_eq!(client.peer(), None);
}

#[test_on(Ovs)]
fn ovs_an_answer_given_up_on_does_not_disturb_the_next() {
    let lab = Lab::new();
    let mut client = connect(&lab);
    client.set_timeout(Duration::from_millis(100));
    lab.ovs.freeze_ovsdb();
    assert!(matches!(client.list_dbs(), Err(NetError::TimedOut { .. })));
    lab.ovs.thaw_ovsdb();
    client.set_timeout(PATIENCE);
    assert_eq!(client.get_schema(DB).unwrap()["name"], DB);
}
