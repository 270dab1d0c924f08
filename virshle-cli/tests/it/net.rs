//! `v net` on a host without a switch, and with arguments that it does not take; and on a real one.

use std::io::Read;
use std::process::Stdio;

use virshle_testkit::{NetNamespace, OpenVswitch};
use virshle_testkit_macros::test_on;

use crate::home::{Home, ran};

const NO_SWITCH: &str = "[network]\novsdb = \"unix:HOME/none.sock\"\n";

#[test]
fn without_a_switch_it_says_so() {
    let home = Home::new();
    home.write_config(NO_SWITCH);
    for arguments in ["net ls", "net trace web db"] {
        home.run(arguments).fails_with(5, &["reach Open vSwitch at", "none.sock", "hint: "]);
    }
    let error = home.run("net ls --json").error();
    assert_eq!((error["code"].as_str(), error["exit"].as_i64()), (Some("network-failed"), Some(5)));
    home.run("net capture web").fails_with(3, &["no machine \"web\""]);
}

#[test]
fn what_is_no_filter_or_address_is_2() {
    let home = Home::new();
    home.write_config(NO_SWITCH);
    home.run("net capture web tcp or udp").fails_with(2, &["\"or\" is no filter", "port N"]);
    home.run("net capture web port http").fails_with(2, &["\"http\" is no filter"]);
    home.run("net capture web --json").fails_with(2, &["has no JSON output"]);
    home.run("net trace web db --forge web").fails_with(2, &["neither a MAC nor an IP address"]);
    home.run("net trace web").fails_with(2, &[]);
}

/// The bridges of a real switch; and a capture of a real machine that is ended by a signal leaves nothing.
#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_capture_ends_with_its_signal_and_leaves_nothing() {
    let _namespace = NetNamespace::enter().unwrap();
    let ovs = OpenVswitch::start();
    let home = Home::new();
    let kernel = virshle_testkit::TestKernel::halt().write(&home.path("")).unwrap();
    home.write_config(&format!(
        "[hypervisor]\nconfine = \"best-effort\"\n[network]\novsdb = {:?}\n[[template.vm]]\nname = \"xs\"\n\
         vcpu = 1\nvram = \"64MiB\"\nkernel = {:?}\n[[template.vm.net]]\nname = \"main\"\nvlan = 12\n\
         [template.vm.net.type.tap]\n",
        ovs.address(),
        kernel
    ));
    let v = |arguments: &str| {
        let words: Vec<&str> = arguments.split(' ').collect();
        let mut command = home.command(&words);
        // cloud-hypervisor is looked up.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    };
    assert_eq!(ran(&mut v("vm create -t xs --name web --start --no-user-data")).code, 0);
    let listed = ran(&mut v("net ls"));
    assert!(listed.stdout.contains("│ web ") && listed.stdout.contains("│ 12 "), "{listed:?}");
    assert!(listed.stdout.lines().all(|line| line.chars().count() <= 80), "{listed:?}");

    let pcap = home.path("web.pcap");
    let mut child = v(&format!("net capture web --pcap {}", pcap.display()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first words are those of a mirror that is there.
    let mut first = [0; 9];
    child.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"capturing");
    assert!(ovs.vsctl(&["list", "Mirror"]).contains("vcap"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(ovs.vsctl(&["list", "Mirror"]), "");
    assert!(!ovs.vsctl(&["list-ports", "br0"]).contains("vcap"));
    assert_eq!(std::fs::read(pcap).unwrap()[..8], [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);

    // Killed, it leaves rows that a check finds and a repair removes.
    let mut child = v("net capture web").stderr(Stdio::piped()).spawn().unwrap();
    child.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let found = ran(&mut v("node check"));
    assert!(found.stdout.contains("of a capture that was killed"), "{found:?}");
    ran(&mut v("node check --repair"));
    assert_eq!(ovs.vsctl(&["list", "Mirror"]), "");
    assert_eq!(ran(&mut v("vm rm --force web")).code, 0);
}
