use std::thread;
use std::time::{Duration, Instant};

use virshle_net::{Change, InterfaceName, NetError, Owner, PortKind, PortRequest, Switch, Tap};
use virshle_testkit_macros::test_on;

use crate::{IN_TIME, Lab, PATIENCE};

const UUID: &str = "6a6f1bc4-3c26-4a0e-a4a5-6a5d1c4e9c01";

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

fn internal(text: &str) -> PortRequest {
    PortRequest::internal(name(text)).owner(Owner::new(UUID, "web"))
}

#[test_on(Ovs)]
fn ovs_the_ports_of_a_machine_are_added_listed_and_removed() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    let tap = Tap::create(&name("tap0")).unwrap();
    tap.set_up().unwrap();
    let owner = Owner::new(UUID, "web").node("/var/lib/virshle");
    let ports = [
        PortRequest::tap(name("tap0"))
            .vlan(12)
            .mtu_bytes(1400)
            .mac("52:54:00:00:00:01".parse().unwrap())
            .owner(owner.clone()),
        PortRequest::internal(name("in0")).owner(owner.clone()),
    ];
    let made = switch.add_ports("br0", &ports, PATIENCE).unwrap();
    assert_eq!((made[0].name.as_str(), made[0].kind), ("tap0", PortKind::Tap));
    assert!(made.iter().all(|port| port.ofport > 0 && port.bridge == "br0"));
    assert_eq!(ovs.vsctl(&["get", "Port", "tap0", "tag"]), "12\n");
    let ids = ovs.vsctl(&["get", "Interface", "tap0", "external_ids"]);
    for mark in ["52:54:00:00:00:01", "vm-id", "iface-id", "virshle-name=web"] {
        assert!(ids.contains(mark), "{ids}");
    }

    let owned = switch.owned_ports().unwrap();
    assert_eq!(owned.len(), 2);
    let tap0 = &owned[1];
    assert_eq!((tap0.name.as_str(), tap0.bridge.as_str()), ("tap0", "br0"));
    assert_eq!((&tap0.owner, tap0.vlan), (&owner, Some(12)));
    assert_eq!(tap0.ofport, Some(made[0].ofport.into()));

    assert!(switch.port_statistics("tap0").unwrap().contains_key("rx_bytes"));
    assert!(switch.port_statistics("nope").unwrap().is_empty());
    assert_eq!(switch.remove_ports_of("another", PATIENCE).unwrap(), Change::Unchanged);
    assert_eq!(switch.remove_ports_of(UUID, PATIENCE).unwrap(), Change::Removed);
    assert_eq!(switch.remove_ports_of(UUID, PATIENCE).unwrap(), Change::Unchanged);
    assert_eq!(switch.port_names("br0").unwrap(), ["br0"]);
    assert_eq!(switch.owned_ports().unwrap(), []);
}

/// A row in QoS is kept by nothing and taken along by nothing: it is never left behind.
#[test_on(Ovs)]
fn ovs_rates_come_and_go_with_their_port() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    let tap = Tap::create(&name("tap0")).unwrap();
    tap.set_up().unwrap();
    let owner = || Owner::new(UUID, "web");
    let wanted = PortRequest::tap(name("tap0"))
        .owner(owner())
        .rate_in_bits(Some(100_000_000))
        .rate_out_bits(Some(8_000_000));
    let other = internal("in0");
    let rows = |table| ovs.vsctl(&["--bare", "--columns=_uuid", "list", table]);
    // Twice: the second takes the place of the first, and of its row.
    for _ in 0..2 {
        let made = switch.add_ports("br0", &[other.clone(), wanted.clone()], PATIENCE).unwrap();
        assert_eq!((made[0].name.as_str(), made[1].name.as_str()), ("in0", "tap0"));
        assert_eq!(rows("QoS").split_whitespace().count(), 1);
        let owned = switch.owned_ports().unwrap();
        assert_eq!(owned[1].rates, wanted.rates());
        assert_eq!(owned[0].rates, other.rates());
    }
    assert_eq!(ovs.vsctl(&["get", "Interface", "tap0", "ingress_policing_rate"]), "8000\n");
    let qos = ovs.vsctl(&["--bare", "--columns=type,other_config", "list", "QoS"]);
    assert!(qos.contains("linux-htb") && qos.contains("max-rate=100000000"), "{qos}");
    assert_eq!(switch.remove_ports_of(UUID, PATIENCE).unwrap(), Change::Removed);
    assert_eq!((rows("QoS"), rows("Port").split_whitespace().count()), (String::new(), 1));

    // One that fails takes all along.
    let absent = PortRequest::tap(name("nope")).owner(owner()).rate_in_bits(Some(1_000_000));
    switch.add_ports("br0", &[wanted.clone(), absent], PATIENCE).unwrap_err();
    assert_eq!(rows("QoS"), "");
    // A port that was deleted by hand leaves its row, until its machine goes.
    switch.add_ports("br0", &[wanted], PATIENCE).unwrap();
    ovs.vsctl(&["del-port", "tap0"]);
    assert_eq!(rows("QoS").split_whitespace().count(), 1);
    assert_eq!(switch.remove_ports_of(UUID, PATIENCE).unwrap(), Change::Removed);
    assert_eq!(rows("QoS"), "");
}

#[test_on(Ovs)]
fn ovs_a_tap_that_does_not_exist_is_an_error_and_leaves_nothing() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    let ports = [internal("in0"), PortRequest::tap(name("nope"))];
    let error = switch.add_ports("br0", &ports, PATIENCE).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("ovs-vswitchd could not add port nope to bridge br0: "), "{text}");
    assert!(text.contains("No such device"), "{text}");
    assert_eq!(switch.port_names("br0").unwrap(), ["br0"]);
}

#[test_on(Ovs)]
fn ovs_an_absent_bridge_is_an_error() {
    let Lab { mut switch, ovs, _namespace } = Lab::new();
    let error = switch.add_ports("br9", &[internal("in0")], PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "there is no bridge br9");
    assert_eq!(ovs.vsctl(&["list", "Interface"]), "");
}

#[test_on(Ovs)]
fn ovs_a_port_of_another_owner_is_left_alone() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    let foreign = ["type=internal", "external_ids:virshle-uuid=forged"];
    ovs.vsctl(
        &[&["add-port", "br0", "theirs", "--", "set", "Interface", "theirs"], &foreign[..]]
            .concat(),
    );
    switch
        .add_ports(
            "br0",
            &[PortRequest::internal(name("other")).owner(Owner::new("u2", "db"))],
            PATIENCE,
        )
        .unwrap();
    let before = ovs.vsctl(&["get", "Interface", "theirs", "_uuid", "external_ids", "ofport"]);

    let error =
        switch.add_ports("br0", &[internal("in0"), internal("theirs")], PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "there is a port theirs already, not created by virshle");
    let error = switch.add_ports("br0", &[internal("other")], PATIENCE).unwrap_err();
    assert_eq!(error.to_string(), "there is a port other already, of machine db");
    assert!(matches!(switch.remove_port("theirs", PATIENCE), Err(NetError::NotOurs { .. })));

    let after = ovs.vsctl(&["get", "Interface", "theirs", "_uuid", "external_ids", "ofport"]);
    assert_eq!(before, after);
    assert_eq!(switch.port_names("br0").unwrap(), ["br0", "other", "theirs"]);
}

#[test_on(Ovs)]
fn ovs_a_port_of_the_same_machine_is_replaced() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    switch.add_ports("br0", &[internal("in0").vlan(7)], PATIENCE).unwrap();
    let ports = switch.add_ports("br0", &[internal("in0"), internal("in1")], PATIENCE).unwrap();
    assert!(ports.iter().all(|port| port.ofport > 0));
    assert_eq!(ovs.vsctl(&["get", "Port", "in0", "tag"]), "0\n");
    assert_eq!(switch.port_names("br0").unwrap(), ["br0", "in0", "in1"]);
    assert_eq!(switch.remove_port("in0", PATIENCE).unwrap(), Change::Removed);
    assert_eq!(switch.remove_port("in0", PATIENCE).unwrap(), Change::Unchanged);
}

#[test_on(Ovs)]
fn ovs_the_two_halves_may_be_apart() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    let first = switch.submit_ports("br0", &[internal("in0")], PATIENCE).unwrap();
    let second = switch.submit_ports("br0", &[internal("in1")], PATIENCE).unwrap();
    // Something else in between, and the later one first.
    assert!(switch.bridge("br0").unwrap().is_some());
    assert_eq!(switch.confirm_ports(second, PATIENCE).unwrap()[0].name, "in1");
    assert_eq!(switch.confirm_ports(first, PATIENCE).unwrap()[0].name, "in0");
}

#[test_on(Ovs)]
fn ovs_a_dead_or_frozen_vswitchd_is_named_within_the_deadline_and_no_port_stays() {
    let Lab { mut switch, mut ovs, _namespace } = Lab::new().bridged();
    for dead in [false, true] {
        if dead {
            ovs.thaw_vswitchd();
            ovs.kill_vswitchd();
        } else {
            ovs.freeze_vswitchd();
        }
        let begin = Instant::now();
        let error =
            switch.add_ports("br0", &[internal("in0")], Duration::from_millis(300)).unwrap_err();
        assert!(begin.elapsed() < IN_TIME);
        assert!(matches!(error, NetError::SwitchSilent { .. }), "{error}");
        assert!(error.to_string().contains("ovs-vswitchd"), "{error}");
        assert!(error.hint().unwrap().contains("ovs-vswitchd"));
        assert_eq!(switch.port_names("br0").unwrap(), ["br0"]);
    }
    // What is its owner's can be removed while it is dead, and added when it is back.
    assert_eq!(switch.remove_ports_of(UUID, PATIENCE).unwrap(), Change::Unchanged);
    ovs.start_vswitchd();
    assert!(switch.add_ports("br0", &[internal("in0")], PATIENCE).unwrap()[0].ofport > 0);
}

#[test_on(Ovs)]
fn ovs_a_restarted_database_is_found_again() {
    let Lab { mut switch, mut ovs, _namespace } = Lab::new().bridged();
    switch.add_ports("br0", &[internal("in0")], PATIENCE).unwrap();
    let pending = switch.submit_ports("br0", &[internal("in2")], PATIENCE).unwrap();
    ovs.restart_ovsdb();
    // vswitchd waits a second or more before it tries again.
    switch.add_ports("br0", &[internal("in1")], PATIENCE).unwrap();
    assert!(switch.confirm_ports(pending, PATIENCE).is_err());
    assert_eq!(switch.owned_ports().unwrap().iter().filter(|port| port.name != "in2").count(), 2);
}

#[test_on(Ovs)]
fn ovs_a_frozen_database_is_an_error_within_the_deadline() {
    let Lab { switch: _switch, ovs, _namespace } = Lab::new().bridged();
    let short = Duration::from_millis(300);
    let mut switch = Switch::connect(&ovs.address().parse().unwrap(), short).unwrap();
    ovs.freeze_ovsdb();
    let begin = Instant::now();
    let error = switch.add_ports("br0", &[internal("in0")], short).unwrap_err();
    assert!(matches!(error, NetError::TimedOut { .. }), "{error}");
    assert!(error.hint().unwrap().contains("ovsdb-server"));
    // Its queue runs full: even connecting must end in time.
    let mut connected = Vec::new();
    let error = loop {
        match Switch::connect(&ovs.address().parse().unwrap(), short) {
            Ok(switch) => connected.push(switch),
            Err(error) => break error,
        }
        assert!(connected.len() < 10_000);
    };
    assert!(matches!(error, NetError::Connect { .. }), "{error}");
    assert!(begin.elapsed() < IN_TIME);
    ovs.thaw_ovsdb();
}

#[test_on(Ovs)]
fn ovs_a_hundred_ports_cost_no_more_each_than_the_first() {
    let Lab { mut switch, ovs: _ovs, _namespace } = Lab::new().bridged();
    let requests: Vec<_> = (0..100).map(|n| internal(&format!("in{n}"))).collect();
    let ports = switch.add_ports("br0", &requests, PATIENCE).unwrap();
    assert_eq!(ports.len(), 100);
    let numbers: std::collections::BTreeSet<_> = ports.iter().map(|port| port.ofport).collect();
    assert_eq!(numbers.len(), 100);
    let begin = Instant::now();
    let one = PortRequest::internal(name("one")).owner(Owner::new("u2", "db"));
    switch.add_ports("br0", &[one], PATIENCE).unwrap();
    eprintln!("one port beside a hundred: {:?}", begin.elapsed());
    assert_eq!(switch.owned_ports().unwrap().len(), 101);
    assert_eq!(switch.remove_ports_of(UUID, PATIENCE).unwrap(), Change::Removed);
    switch.ping_vswitchd(PATIENCE).unwrap();
    assert_eq!(switch.port_names("br0").unwrap(), ["br0", "one"]);
}

#[test_on(Ovs)]
fn ovs_many_clients_at_once_get_their_own_ports() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    let address = ovs.address();
    thread::scope(|scope| {
        for client in 0..8 {
            let address = address.parse().unwrap();
            scope.spawn(move || {
                let mut switch = Switch::connect(&address, PATIENCE).unwrap();
                let uuid = format!("u{client}");
                for round in 0..5 {
                    let request = PortRequest::internal(name(&format!("p{client}-{round}")))
                        .owner(Owner::new(&uuid, "vm"));
                    switch.add_ports("br0", &[request], PATIENCE).unwrap();
                }
                if client % 2 == 0 {
                    assert_eq!(switch.remove_ports_of(&uuid, PATIENCE).unwrap(), Change::Removed);
                }
            });
        }
    });
    assert_eq!(switch.owned_ports().unwrap().len(), 20);
}

#[test_on(Ovs)]
fn ovs_of_two_clients_that_want_one_name_one_gets_it() {
    let Lab { mut switch, ovs, _namespace } = Lab::new().bridged();
    let address = ovs.address();
    let won = thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|client| {
                let address = address.parse().unwrap();
                scope.spawn(move || {
                    let mut switch = Switch::connect(&address, PATIENCE).unwrap();
                    let request = PortRequest::internal(name("prize"))
                        .owner(Owner::new(format!("u{client}"), format!("vm{client}")));
                    match switch.add_ports("br0", &[request], PATIENCE) {
                        Ok(_) => true,
                        Err(NetError::PortTaken { owner: Some(_), .. }) => false,
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
    assert_eq!(switch.owned_ports().unwrap().len(), 1);
}
