//! Getting into machines: their addresses, and waiting for them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use virshle_core::{Awaited, CoreError, Force, GuestError, MachineError, Route};
use virshle_testkit::{FakeVsock, NetNamespace, OpenVswitch, TestKernel, kea_lease_commands};
use virshle_testkit_macros::test_on;

use crate::lab::{LEAST, Lab, init, patient};

/// Only what has gone wrong takes that long, however busy the host is.
const SOON: Duration = Duration::from_secs(120);

/// A node whose machines have a network of the host's own DHCP server.
fn config(ovsdb: &str) -> String {
    config_with_leases(ovsdb, "leases")
}

fn config_with_leases(ovsdb: &str, leases: &str) -> String {
    format!(
        r#"
[network]
ovsdb = "{ovsdb}"
leases = "{{folder}}/{leases}"
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"
kernel = "{{folder}}/kernel"
[[template.vm.net]]
name = "main"
[template.vm.net.type.tap]
"#
    )
}

fn ip(args: &str) {
    let status = Command::new("ip").args(args.split(' ')).status().unwrap();
    assert!(status.success(), "ip {args}");
}

/// Asserts that what is tried in vain for a moment, longer on a busy host, fails with `text` in the error.
#[track_caller]
fn assert_error_contains(text: &str, attempt: impl Fn(Duration) -> CoreError) {
    let timeouts = [300, 3_000, 30_000].map(Duration::from_millis);
    let mut errors = timeouts.into_iter().map(|timeout| attempt(timeout).to_string());
    let last = errors.find(|error| error.contains(text));
    assert!(last.is_some(), "no error contains {text:?}");
}

fn shown(vm: &virshle_core::Vm) -> Vec<String> {
    let addresses = vm.addresses();
    addresses.iter().map(|address| format!("{address} {}", address.source)).collect()
}

#[test]
fn a_lease_is_an_address_and_a_surer_one_than_what_follows_from_the_mac() {
    let lab = Lab::new(&config("unix:/nowhere"));
    let vm = lab.create("xs");
    let mac = vm.definition().nets[0].mac;
    let of_card = shown(&vm);
    assert_eq!(of_card.len(), 1, "{of_card:?}");
    assert!(of_card[0].starts_with("fe80::5054:ff:fe"), "{of_card:?}");
    assert!(of_card[0].ends_with("%br0 mac"), "{of_card:?}");
    fs::write(lab.path("leases"), format!("0 {mac} 192.0.2.7 * *\n")).unwrap();
    assert_eq!(shown(&vm), ["192.0.2.7 dhcp".to_owned(), of_card[0].clone()]);
    let info = serde_json::to_value(vm.info()).unwrap();
    let expected = serde_json::json!({"ip": "192.0.2.7", "prefix": null, "source": "dhcp"});
    assert_eq!(info["nets"][0]["addresses"][0], expected);
}

/// The address that a real client of a real DHCP server gets, on the machine's behalf.
fn leased(vm: &virshle_core::Vm, server: &mut Command) -> String {
    let mac = &vm.definition().nets[0].mac;
    ip("link set lo up");
    ip("link add lan type veth peer name guest");
    ip("address add 192.0.2.1/24 dev lan");
    ip("link set lan up");
    ip(&format!("link set guest address {mac} up"));
    let mut server = server.spawn().unwrap();
    // It asks until the server is there.
    let line = "busybox udhcpc -i guest -f -q -n -t 100 -T 1 -s /bin/true";
    let client = Command::new("timeout").arg("120").args(line.split(' ')).output();
    // Kea's answer comes from itself. Then it ends, whatever came of it.
    let shown = shown(vm);
    server.kill().unwrap();
    server.wait().unwrap();
    let output = String::from_utf8_lossy(&client.unwrap().stderr).into_owned();
    let (_, address) = output.split_once("lease of ").unwrap_or_else(|| panic!("{output}"));
    let expected = format!("{} dhcp", address.split_whitespace().next().unwrap_or_default());
    assert_eq!(shown[0], expected, "{output}");
    expected
}

#[test_on(Root, Dhcp)]
fn root_a_lease_of_a_real_dnsmasq_is_an_address() {
    let _namespace = NetNamespace::enter().unwrap();
    let lab = Lab::new(&config("unix:/nowhere"));
    let vm = lab.create("xs");
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq
        .args(
            "--keep-in-foreground --conf-file=/dev/null --user=root --pid-file --port=0".split(' '),
        )
        .args("--interface=lan --dhcp-range=192.0.2.50,192.0.2.60,1h --no-ping".split(' '))
        .arg(format!("--dhcp-leasefile={}", lab.path("leases").display()));
    leased(&vm, &mut dnsmasq);
}

/// A Kea that keeps its leases in a journal, and can be asked for them.
fn kea(lab: &Lab) -> Command {
    let folder = lab.path("");
    let config = serde_json::json!({"Dhcp4": {
        "interfaces-config": {"interfaces": ["lan"], "dhcp-socket-type": "raw"},
        "control-socket": {"socket-type": "unix", "socket-name": folder.join("control")},
        "lease-database": {"type": "memfile", "name": folder.join("leases.csv")},
        "hooks-libraries": [{"library": kea_lease_commands()}],
        "subnet4": [{"subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.50-192.0.2.60"}]}],
    }});
    fs::write(folder.join("kea.json"), config.to_string()).unwrap();
    let mut kea = Command::new("kea-dhcp4");
    kea.arg("-c").arg(folder.join("kea.json"));
    kea.env("KEA_PIDFILE_DIR", &folder).env("KEA_LOCKFILE_DIR", &folder);
    kea.stdout(Stdio::null()).stderr(Stdio::null());
    kea
}

#[test_on(Root, Dhcp)]
fn root_a_lease_of_a_real_kea_is_an_address() {
    for leases in ["leases.csv", "control"] {
        let _namespace = NetNamespace::enter().unwrap();
        let lab = Lab::new(&config_with_leases("unix:/nowhere", leases));
        let vm = lab.create("xs");
        let expected = leased(&vm, &mut kea(&lab));
        // The journal is there without it, its socket has no listener.
        assert_eq!(shown(&vm)[0] == expected, leases == "leases.csv", "{leases}");
    }
}

#[test]
fn a_guest_is_believed_but_not_followed() {
    let lab = Lab::new(&config("unix:/nowhere"));
    let vm = lab.create("xs");
    let mac = vm.definition().nets[0].mac;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // What other host than this one a guest may name is beyond this test.
    let table =
        format!("ci-info: | eth0 | True | 192.0.2.9 | 255.255.255.0 | global | {mac} |\r\n");
    fs::write(vm.serial_log(), table).unwrap();
    assert_eq!(shown(&vm)[0], "192.0.2.9 guest");
    let _guest = FakeVsock::start(&vm.vsock(), 1, |_| Ok(())).unwrap();
    let error = vm.connect(port, Duration::from_millis(500)).unwrap_err().to_string();
    assert!(!error.contains("192.0.2.9"), "{error}");
    // A lease for it makes it the machine's.
    fs::write(lab.path("leases"), format!("0 {mac} 192.0.2.9 * *\n")).unwrap();
    assert_error_contains("192.0.2.9 (dhcp)", |timeout| {
        vm.connect(port, timeout).unwrap_err().into()
    });
}

#[test_on(Root)]
fn root_what_the_kernel_has_seen_is_an_address() {
    let _namespace = NetNamespace::enter().unwrap();
    let lab = Lab::new(&config("unix:/nowhere"));
    let vm = lab.create("xs");
    let mac = &vm.definition().nets[0].mac;
    ip("tuntap add br0 mode tap");
    ip("link set br0 up");
    ip(&format!("neigh add 192.0.2.7 lladdr {mac} dev br0 nud stale"));
    ip(&format!("neigh add 192.0.2.8 lladdr {mac} dev br0 nud reachable"));
    ip(&format!("neigh add fe80::7 lladdr {mac} dev br0 nud reachable"));
    ip("neigh add 192.0.2.9 lladdr 52:54:00:ff:ff:ff dev br0 nud reachable");
    let found = shown(&vm);
    let expected = ["192.0.2.8 neighbour", "192.0.2.7 neighbour", "fe80::7%br0 neighbour"];
    assert_eq!(found[..3], expected, "{found:?}");
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn a_guest_is_reached_by_its_vsock_first() {
    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    let error = CoreError::from(vm.connect(22, SOON).unwrap_err());
    assert!(matches!(error, CoreError::Machine(MachineError::WrongState { .. })), "{error:?}");
    let guest = FakeVsock::start(&vm.vsock(), 22, |_| Ok(())).unwrap();
    assert_eq!(vm.connect(22, SOON).unwrap().route(), &Route::Vsock);
    let error = CoreError::from(vm.connect(23, SOON).unwrap_err());
    assert!(
        matches!(error, CoreError::Guest(GuestError::Unreachable { port: 23, .. })),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.ends_with("vsock: no process listens in the guest; no address of it is known"),
        "{text}"
    );
    // What answers, and is no ssh server.
    assert_error_contains("no SSH server", |timeout| {
        vm.wait(Awaited::Ssh, timeout).unwrap_err().into()
    });
    drop(guest);
}

/// Regression: a vsock silent for a moment made a running machine pass for stopped (c5f5fc4).
#[test]
fn a_guest_that_is_slow_to_answer_is_there() {
    let lab = Lab::new(LEAST);
    let vm = lab.create("xs");
    // It takes connections, and says nothing.
    let silent = std::os::unix::net::UnixListener::bind(vm.vsock()).unwrap();
    assert_error_contains("vsock: the guest does not answer", |timeout| {
        let error = CoreError::from(vm.connect(22, timeout).unwrap_err());
        assert!(matches!(error, CoreError::Guest(GuestError::Unreachable { .. })), "{error:?}");
        error
    });
    // A client is not kept waiting for one that is off. Closing the socket is not enough: a program that
    // another test starts has a copy of it until its exec(2).
    rustix::net::shutdown(&silent, rustix::net::Shutdown::Both).unwrap();
    drop(silent);
    let error =
        CoreError::from(vm.connect_when_up(22, SOON, |_| panic!("nothing comes")).unwrap_err());
    assert!(matches!(error, CoreError::Machine(MachineError::WrongState { .. })), "{error:?}");
}

#[test]
fn a_machine_that_is_removed_is_not_waited_for_any_longer() {
    let lab = Lab::new(LEAST);
    let vm = &lab.create("xs");
    for awaited in Awaited::ALL {
        let error = CoreError::from(vm.wait(awaited, Duration::from_millis(20)).unwrap_err());
        assert!(matches!(error, CoreError::Guest(GuestError::NotYet { .. })), "{error:?}");
    }
    std::thread::scope(|scope| {
        let waiting = Awaited::ALL.map(|awaited| scope.spawn(move || vm.wait(awaited, SOON)));
        // They notice it wherever they are.
        vm.remove(Force::No).unwrap();
        for waiting in waiting {
            let error = CoreError::from(waiting.join().unwrap().unwrap_err());
            assert!(matches!(error, CoreError::Machine(MachineError::Removed { .. })), "{error:?}");
        }
    });
}

#[test_on(Ch, Kvm)]
fn ch_a_boot_is_noticed() {
    let lab = Lab::with_kernel(LEAST, &TestKernel::halt());
    let vm = lab.create("xs");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| vm.wait(Awaited::Boot, SOON));
        vm.start(&patient()).unwrap();
        waiting.join().unwrap().unwrap();
    });
    vm.wait(Awaited::Boot, Duration::ZERO).unwrap();
    // A guest without a driver for its vsock doesn't answer, and the error comes in time.
    assert_error_contains("vsock: the guest does not answer", |timeout| {
        vm.wait(Awaited::Ssh, timeout).unwrap_err().into()
    });
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_an_address_is_noticed() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = Lab::new(&config(ovs.address().to_string().as_str()));
    init(&lab.node);
    let vm = lab.create("xs");
    let mac = &vm.definition().nets[0].mac;
    vm.start(&patient()).unwrap();
    assert_error_contains("DHCP lease", |timeout| {
        vm.wait(Awaited::Address, timeout).unwrap_err().into()
    });
    let wait = || vm.wait(Awaited::Address, SOON);
    ip("link set br0 up");
    // Threads begin in the namespace of the one that starts them.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(wait);
        ip(&format!("neigh add 192.0.2.7 lladdr {mac} dev br0 nud reachable"));
        waiting.join().unwrap().unwrap();
    });
    ip("neigh del 192.0.2.7 dev br0");
    assert_eq!(vm.addresses().len(), 1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(wait);
        fs::write(lab.path("leases"), format!("0 {mac} 192.0.2.8 * *\n")).unwrap();
        waiting.join().unwrap().unwrap();
    });
}
