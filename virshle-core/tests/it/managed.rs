//! The managed network: real dnsmasq, real nftables, a private switch, and namespaces in the place of guests.

use std::fs;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use virshle_core::{
    CreateRequest, Failure, Force, InitMode, InitOutcome, Level, MachineError, Node, Vm,
};
use virshle_testkit::{NetNamespace, OpenVswitch};
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, init, networked_config};

/// Only what has gone wrong takes that long, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(ovs: &OpenVswitch, keys: &str) -> String {
    let keys = format!(
        "[network]\nsubnet = \"192.168.177.1/24\"\nsubnet6 = \"fd12:3456:789a:1::/64\"\n{keys}"
    );
    networked_config(ovs, "tap").replace("vlan = 12", "").replace("[network]", &keys)
}

fn lab(ovs: &OpenVswitch) -> Lab {
    let lab = Lab::new(&config(ovs, ""));
    open(&lab);
    lab
}

/// dnsmasq's user reaches a root only if it may pass the directories above it, as with any other.
fn open(lab: &Lab) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs a program, and returns what it prints.
#[track_caller]
fn run(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{line}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {text}{errors}");
    text
}

/// A network namespace in the place of a guest, which has the machine's MAC address on the bridge.
struct Guest {
    holder: Child,
    name: String,
}

impl Guest {
    fn plug(ovs: &OpenVswitch, vm: &Vm) -> Self {
        let name = format!("g{}", vm.id());
        let holder = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let guest = Self { holder, name };
        let deadline = Instant::now() + PATIENCE;
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        while fs::read_link(format!("/proc/{}/ns/net", guest.holder.id())).ok().as_ref()
            == Some(&own)
        {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        let (port, pid) = (format!("p{}", vm.id()), guest.holder.id());
        let mac = vm.definition().nets[0].mac;
        run(&format!("ip link add {port} type veth peer name {}", guest.name));
        run(&format!("ip link set {} address {mac} netns {pid}", guest.name));
        guest.run("ip link set lo up");
        // A switch in user space takes frames as they are, and a veth's have no checksum yet.
        guest.run(&format!("ethtool -K {} tx off", guest.name));
        guest.run(&format!("ip link set {} up", guest.name));
        // As a tap: else the host's own IP stack answers for the bridge's address.
        virshle_core::net::Device::isolate(&port.parse().unwrap()).unwrap();
        run(&format!("ip link set {port} up"));
        ovs.vsctl(&["add-port", "br0", &port]);
        guest
    }

    fn run(&self, line: &str) -> String {
        run(&format!("nsenter -t {} -n {line}", self.holder.id()))
    }

    /// Asks for an address by DHCP, takes it, and returns it.
    fn lease(&self, lab: &Lab) -> String {
        use std::os::unix::fs::PermissionsExt;
        let script = lab.path("udhcpc");
        fs::write(
            &script,
            "#!/bin/sh\n[ $1 = bound ] || exit 0\nip address add $ip/$mask dev $interface\n\
             ip route add default via $router\n",
        )
        .unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let line =
            format!("busybox udhcpc -i {} -f -q -n -t 60 -T 1 -s {}", self.name, script.display());
        self.run(&line);
        let shown = self.run(&format!("ip -4 -br address show dev {}", self.name));
        shown.split_ascii_whitespace().nth(2).unwrap().split('/').next().unwrap().to_owned()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

fn named(node: &Node, name: &str) -> Vm {
    let request = CreateRequest::new("xs").name(name.parse().unwrap());
    let mut made = node.create(&request, &|_| {}).unwrap();
    made.remove(0).result.unwrap_or_else(|error| panic!("{error:?}"))
}

fn address(vm: &Vm) -> String {
    let addresses = vm.addresses();
    let found = addresses.iter().find(|address| address.ip.is_ipv4());
    found.unwrap_or_else(|| panic!("{addresses:?}")).ip.to_string()
}

fn lookup(name: &str, server: &str) -> Vec<IpAddr> {
    let text = Command::new("busybox").args(["nslookup", name, server]).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let answer = text.split_once("\n\n").map(|(_, answer)| answer.to_owned()).unwrap_or_default();
    let lines = answer.lines().filter_map(|line| line.strip_prefix("Address: "));
    let mut ips: Vec<IpAddr> = lines.filter_map(|ip| ip.trim().parse().ok()).collect();
    ips.sort();
    ips
}

#[test_on(Ovs, Nftables)]
fn ovs_a_managed_network_serves_machines_and_goes_without_a_trace() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = lab(&ovs);
    let rules_before = run("nft list ruleset");
    let would = lab.node.init(InitMode::DryRun).unwrap();
    assert!(would.iter().all(|step| step.outcome == InitOutcome::Would), "{would:?}");
    assert!(would.iter().any(|step| step.detail.iter().any(|line| line.contains("masquerade"))));
    assert!(!lab.path("root").exists() && run("nft list ruleset") == rules_before);
    init(&lab.node);
    let there = lab.node.init(InitMode::Apply).unwrap();
    assert!(there.iter().all(|step| step.outcome == InitOutcome::There), "{there:?}");

    let (web, db) = (named(&lab.node, "web"), named(&lab.node, "db"));
    let guests = [Guest::plug(&ovs, &web), Guest::plug(&ovs, &db)];
    for (vm, guest) in [&web, &db].into_iter().zip(&guests) {
        assert_eq!(guest.lease(&lab), address(vm));
    }
    // Names, from the host and from another guest, of both families.
    let ips = lookup("web.vm", "192.168.177.1");
    assert_eq!(ips.len(), 2, "{ips:?}");
    assert_eq!(ips[0].to_string(), address(&web));
    let heard = guests[1].run("busybox nslookup web.vm 192.168.177.1");
    assert!(heard.contains(&address(&web)), "{heard}");
    guests[1].run(&format!("busybox ping -c 1 -W 20 {}", address(&web)));
    lab.node.check().unwrap().findings.iter().for_each(|finding| {
        assert!(
            finding.subject != "managed network" || finding.level == Level::Good,
            "{finding:?}"
        );
    });

    // Another machine of that name has the same address, though its MAC address is another.
    let (old, mac) = (address(&web), web.definition().nets[0].mac);
    drop(guests);
    web.remove(Force::No).unwrap();
    // Its names are forgotten; the one of its lease lives as long as that, or until the address is given anew.
    assert!(lookup("web.vm", "192.168.177.1").iter().all(IpAddr::is_ipv4));
    // It goes with the namespace of its other end, sooner or later.
    drop(Command::new("ip").args(["link", "delete", "p1"]).output());
    ovs.vsctl(&["del-port", "p1"]);
    let web = named(&lab.node, "web");
    assert_ne!(web.definition().nets[0].mac, mac);
    assert_eq!(address(&web), old);
    assert_eq!(Guest::plug(&ovs, &web).lease(&lab), old);

    let removed = lab.node.reset(InitMode::Apply, Force::No).unwrap();
    assert!(removed.len() >= 4, "{removed:?}");
    assert_eq!(run("nft list ruleset"), rules_before);
    assert!(!run("ip address show dev br0").contains("192.168.177.1"));
    assert_eq!(lab.node.reset(InitMode::Apply, Force::No).unwrap(), [""; 0]);
    assert_eq!(address(&lab.node.vm(web.uuid()).unwrap()), old);
    // And again.
    init(&lab.node);
    assert_eq!(lookup("web.vm", "192.168.177.1").len(), 2);
    lab.node.reset(InitMode::Apply, Force::No).unwrap();
}

/// What is missing after the switch was restarted, a firewall was, and dnsmasq was killed, is set up again.
#[test_on(Ovs, Nftables)]
fn ovs_what_is_lost_of_a_managed_network_is_found_and_restored() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = lab(&ovs);
    init(&lab.node);
    let web = named(&lab.node, "web");
    let wrong = || {
        let findings = lab.node.check().unwrap().findings;
        let of_network =
            findings.into_iter().filter(|finding| finding.subject == "managed network");
        let bad = of_network.filter(|finding| finding.level != Level::Good);
        bad.map(|finding| finding.message).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(wrong(), "");
    let pid = fs::read_to_string(lab.path("root/network/dnsmasq.pid")).unwrap();
    for (loss, named) in [
        ("nft flush ruleset".to_owned(), "nftables"),
        (format!("kill -9 {}", pid.trim()), "dnsmasq"),
        ("ip address flush dev br0".into(), "address 192.168.177.1/24 of br0"),
        ("sysctl -q -w net.ipv4.ip_forward=0".into(), "forwarding"),
    ] {
        run(&loss);
        assert!(wrong().contains(named), "{loss}: {}", wrong());
        let restored = lab.node.restore_network().unwrap();
        assert!(restored.iter().any(|part| part.what.contains(named)), "{loss}: {restored:?}");
        assert_eq!(wrong(), "", "{loss}");
    }
    let file = lab.path("root/network/dhcp").join(web.uuid().to_string());
    fs::remove_file(&file).unwrap();
    assert!(wrong().contains("web is not known"), "{}", wrong());
    lab.node.restore_network().unwrap();
    assert!(file.exists() && wrong().is_empty());
    lab.node.reset(InitMode::Apply, Force::No).unwrap();
}

/// What is in the way is reported with whom, and nothing is changed.
#[test_on(Ovs, Nftables)]
fn ovs_a_managed_network_in_whose_way_something_is_changes_nothing() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = lab(&ovs);
    let table = "virshle_";
    run("ip link add lan type veth peer name lan2");
    run("ip link set lan2 up");
    run("ip link set lan up");
    let conflict = |part: &str| {
        let error = lab.node.init(InitMode::Apply).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert!(error.hint().is_some(), "{error}");
        assert!(!lab.path("root").exists() && ovs.vsctl(&["list-br"]).is_empty());
        assert!(!run("nft list tables").contains(table) || part.contains("nftables"));
    };
    run("ip address add 192.168.177.9/24 dev lan");
    conflict("overlaps the address 192.168.177.9/24 of lan");
    run("ip address flush dev lan");
    run("ip route add 192.168.0.0/16 dev lan");
    conflict("overlaps the route to 192.168.0.0/16 by lan");
    run("ip route delete 192.168.0.0/16 dev lan");
    let taken = std::net::UdpSocket::bind("0.0.0.0:53").unwrap();
    conflict("UDP port 192.168.177.1:53 is taken by it-");
    drop(taken);
    let missing = lab.reconfigured(&config(&ovs, "nft = \"/nowhere/nft\"\n"));
    let error = missing.init(InitMode::Apply).unwrap_err();
    assert!(error.hint().unwrap().contains("package nftables"), "{error:?}");
    let missing = lab.reconfigured(&config(&ovs, "dnsmasq = \"/nowhere/dnsmasq\"\n"));
    let error = missing.init(InitMode::DryRun).unwrap_err();
    assert!(error.hint().unwrap().contains("dnsmasq-base"), "{error:?}");
    // Once nothing is, it works; and then the network is full before long.
    let small = config(&ovs, "").replace("192.168.177.1/24", "192.168.177.1/29");
    let node = lab.reconfigured(&small);
    init(&node);
    let made = node.create(&CreateRequest::new("xs").count(5), &|_| {}).unwrap();
    assert!(made.iter().all(|one| one.result.is_ok()), "{made:?}");
    let error = node.create(&CreateRequest::new("xs"), &|_| {}).unwrap_err();
    assert_eq!(error.code(), "network-full", "{error:?}");
    node.reset(InitMode::Apply, Force::No).unwrap();
}

/// A host's own firewall is found, and left alone.
#[test_on(Ovs, Nftables)]
fn ovs_a_firewall_that_drops_is_told_and_left_alone() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let lab = lab(&ovs);
    let rules = lab.path("rules");
    fs::write(
        &rules,
        "table ip filter {
 chain FORWARD {
 type filter hook forward priority 0; policy drop;
 }
 \
         chain DOCKER-USER {
 }
}
",
    )
    .unwrap();
    run(&format!("nft -f {}", rules.display()));
    let before = run("nft list table ip filter");
    init(&lab.node);
    let told = |node: &Node| {
        let findings = node.check().unwrap().findings;
        findings.iter().any(|finding| finding.message.contains("firewall of docker (chain FORWARD"))
    };
    assert!(told(&lab.node));
    assert_eq!(run("nft list table ip filter"), before);
    run("nft insert rule ip filter FORWARD iifname br0 accept");
    assert!(!told(&lab.node));
    lab.node.reset(InitMode::Apply, Force::No).unwrap();
}

#[test_on(Ovs, Nftables, Ch, Kvm)]
fn ovs_published_ports_are_there_while_their_machine_runs() {
    use crate::lab::patient;
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let text = config(&ovs, "").replace(
        "name = \"main\"",
        "name = \"main\"\npublish = [\"8080:80\", \"127.0.0.1:2222:22\"]",
    );
    let lab = Lab::new(&text);
    open(&lab);
    init(&lab.node);
    let vms = [named(&lab.node, "web"), named(&lab.node, "db")];
    let rules = || run("nft list ruleset");
    assert!(!rules().contains("8080"));
    vms[0].start(&patient()).unwrap_or_else(|error| panic!("{error:?}"));
    let web = address(&vms[0]);
    assert!(rules().contains(&format!("8080 : {web} . 80")), "{}", rules());
    assert!(rules().contains(&format!("127.0.0.1 . 2222 : {web} . 22")), "{}", rules());
    // Its guard has its addresses.
    assert!(ovs.appctl(&["bridge/dump-flows", "br0"]).contains(&format!("arp_spa={web}")));
    let error = vms[1].start(&patient()).unwrap_err();
    assert_eq!(error.code(), "port-taken", "{error:?}");
    assert!(!vms[1].vmm_log().exists(), "a VMM was started");
    // A rule of the lab's own machine that was lost comes back.
    run("nft flush ruleset");
    lab.node.restore_network().unwrap();
    assert!(rules().contains(&format!("8080 : {web} . 80")), "{}", rules());
    let error = lab.node.reset(InitMode::Apply, Force::No).unwrap_err();
    assert!(matches!(error, MachineError::InUse { .. }), "{error:?}");
    let udp = ["5353:53/udp".parse().unwrap()];
    vms[0].publish(&udp).unwrap();
    assert!(rules().contains(&format!("5353 : {web} . 53")), "{}", rules());
    let now = lab.node.vm(vms[0].uuid()).unwrap();
    assert_eq!(now.published().len(), 3);
    now.unpublish(&udp).unwrap();
    assert!(!rules().contains("5353"), "{}", rules());
    let now = lab.node.vm(vms[0].uuid()).unwrap();
    now.remove(Force::Yes).unwrap();
    assert!(!rules().contains("8080") && !rules().contains("2222"), "{}", rules());
    vms[1].start(&patient()).unwrap_or_else(|error| panic!("{error:?}"));
    vms[1].remove(Force::Yes).unwrap();
    lab.assert_no_orphans();
    lab.node.reset(InitMode::Apply, Force::No).unwrap();
}
