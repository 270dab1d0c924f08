//! User networks: a passt beside the VMM, from the start to the end of the machine.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use virshle_core::net::{Forward, Passt, PasstError};
use virshle_core::{
    Change, Failure, Force, HardwareError, MachineError, NetKind, Node, Route, SSH_PORT,
    StartError, StopRequest, Vm, VmState, start_many,
};
use virshle_testkit::passt;
use virshle_testkit_macros::test_on;

use crate::lab::{Lab, patient};

/// A node with a template of a user network that says that of itself.
fn lab(net: &str) -> Lab {
    Lab::new(&config(&passt().display().to_string(), net))
}

fn config(program: &str, net: &str) -> String {
    format!(
        r#"
[network]
passt = {program:?}
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"
kernel = "{{folder}}/kernel"
[[template.vm.net]]
name = "main"
{net}
[template.vm.net.type.user]
"#
    )
}

/// A port of this host that is free at this moment.
fn free_port() -> u16 {
    Forward::free_on_loopback(1).unwrap().host_port
}

fn passt_of(vm: &Vm) -> Option<Passt> {
    Passt::find(&pid_file(vm), &vm.net_socket("main"))
}

fn pid_file(vm: &Vm) -> PathBuf {
    vm.directory().join("passt-main.pid")
}

/// Nothing of the machine's passt is there.
#[track_caller]
fn assert_no_passt(node: &Node, vm: &Vm) {
    let left = Passt::all_under(node.root()).unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert!(!pid_file(vm).exists() && !vm.net_socket("main").exists());
}

#[test_on(Passt, Ch, Kvm)]
fn passt_serves_a_machine_from_its_start_to_its_end() {
    let port = free_port();
    let lab = lab(&format!("publish = '127.0.0.1:{port}:80'\nmac = '52:54:00:00:00:01'"));
    let vm = lab.create("xs");
    let net = &vm.definition().nets[0];
    assert_eq!((net.kind, net.bridge.as_str(), net.port.as_str()), (NetKind::User, "", ""));
    assert!(vm.vmm_config().unwrap().memory.shared);
    assert_eq!(vm.start(&patient()).unwrap(), Change::Done);
    let first = passt_of(&vm).expect("no passt");
    let info = vm.info();
    let user = info.nets[0].user.as_ref().unwrap();
    assert_eq!(user.passt_pid, Some(first.pid()));
    assert_eq!(info.nets[0].publish, [format!("127.0.0.1:{port}:80")]);
    assert_eq!(info.nets[0].addresses.len(), 1, "{info:?}");
    let ssh = user.ssh.expect("no way to the ssh server");
    // It has the ports, and a way leads there although there is no guest that answers.
    for port in [port, ssh.port()] {
        TcpListener::bind(("127.0.0.1", port)).unwrap_err();
    }
    let stream = vm.connect(SSH_PORT, Duration::from_secs(60)).unwrap();
    assert_eq!(*stream.route(), Route::Published(ssh));
    lab.assert_no_orphans();
    assert_eq!(vm.start(&patient()).unwrap(), Change::Unchanged);
    assert_eq!(passt_of(&vm).map(|passt| passt.pid()), Some(first.pid()));

    vm.stop(&StopRequest::force()).unwrap();
    assert!(first.wait_exit(Duration::ZERO));
    assert_no_passt(&lab.node, &vm);
    assert!(vm.info().nets[0].user.as_ref().unwrap().ssh.is_none());
    // The next run has the same port for ssh.
    vm.start(&patient()).unwrap();
    assert_eq!(vm.info().nets[0].user.as_ref().unwrap().ssh, Some(ssh));
    vm.remove(Force::Yes).unwrap();
    assert!(Passt::all_under(lab.node.root()).unwrap().is_empty());
    lab.assert_no_orphans();
}

#[test_on(Passt, Ch, Kvm)]
fn passt_that_was_lost_is_there_again_after_a_start_or_a_repair() {
    let lab = lab("");
    let vm = lab.create("xs");
    vm.start(&patient()).unwrap();
    let pid = vm.info().pid;
    for by_start in [true, false] {
        passt_of(&vm).unwrap().end(Duration::from_secs(60)).unwrap();
        let check = lab.node.check().unwrap();
        let shown: Vec<String> = check.disconnected.iter().map(ToString::to_string).collect();
        let lapse = format!("machine {}: no passt serves the user network main", vm.name());
        assert_eq!(shown, [lapse]);
        assert!(check.orphans.is_empty(), "{:?}", check.orphans);
        if by_start {
            assert_eq!(vm.start(&patient()).unwrap(), Change::Reconnected);
        } else {
            let restored = lab.node.reconnect(check.disconnected);
            assert!(restored.iter().all(|(_, result)| result.is_ok()), "{restored:?}");
        }
        assert!(passt_of(&vm).is_some());
        // This guest knows nothing of hotplug: it keeps a NIC that leads nowhere, which is said.
        let check = lab.node.check().unwrap();
        let shown: Vec<String> = check.disconnected.iter().map(ToString::to_string).collect();
        assert!(shown.len() == 1 && shown[0].contains("only a restart"), "{shown:?}");
    }
    // The same VMM all the while.
    assert_eq!(vm.info().pid, pid);
    vm.stop(&StopRequest::force()).unwrap();
    assert_no_passt(&lab.node, &vm);
    vm.start(&patient()).unwrap();
    assert!(lab.node.check().unwrap().disconnected.is_empty());
}

#[test_on(Passt, Ch, Kvm)]
fn passt_of_a_machine_that_ended_by_itself_is_swept() {
    let port = free_port();
    let lab = lab(&format!("publish = '{port}:80'"));
    let (vm, other) = (lab.create("xs"), lab.create("xs"));
    let end_alone = || {
        vm.start(&patient()).unwrap();
        let pid = i32::try_from(vm.info().pid.unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        while vm.state() != VmState::Stopped {
            std::thread::yield_now();
        }
    };
    end_alone();
    let orphans = lab.node.check().unwrap().orphans;
    let shown: Vec<String> = orphans.iter().map(ToString::to_string).collect();
    let passt = format!("process passt, pid {}", passt_of(&vm).unwrap().pid());
    assert!(shown.iter().any(|orphan| orphan.starts_with(&passt)), "{shown:?}");
    let repaired = lab.node.repair(orphans);
    assert!(repaired.iter().all(|(_, result)| result.is_ok()), "{repaired:?}");
    assert_no_passt(&lab.node, &vm);
    lab.assert_no_orphans();

    // Nor does it keep a port from another machine.
    end_alone();
    other.start(&patient()).unwrap();
    assert!(passt_of(&vm).is_none());
    // A machine that runs does: that is found before anything is changed.
    let error = vm.start(&patient()).unwrap_err();
    let StartError::Hardware(HardwareError::PortOfMachine { holder, .. }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((holder, error.code()), (other.name(), "port-taken"));
    assert!(error.to_string().contains(&format!("TCP port {port} is published by machine")));
    assert_eq!(vm.info().last_exit, Some(virshle_core::LastExit::Crashed));
    other.stop(&StopRequest::force()).unwrap();
    // A passt whose machine is gone belongs to none.
    vm.start(&patient()).unwrap();
    let stray = passt_of(&vm).unwrap();
    fs::remove_file(pid_file(&vm)).unwrap();
    let orphans = lab.node.check().unwrap().orphans;
    assert!(orphans.iter().any(|orphan| orphan.what.contains("passt")), "{orphans:?}");
    vm.stop(&StopRequest::force()).unwrap();
    assert!(stray.wait_exit(Duration::ZERO), "found by its socket alone");
    assert_no_passt(&lab.node, &vm);
}

#[test_on(Passt, Ch, Kvm)]
fn passt_of_two_machines_that_want_one_port_serves_one() {
    let port = free_port();
    let lab = lab(&format!("publish = '127.0.0.1:{port}:80'"));
    let vms = [lab.create("xs"), lab.create("xs")];
    let results = start_many(&vms, &patient(), |_, result| result);
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(failed.len(), 1, "{results:?}");
    assert_eq!(failed[0].code(), "port-taken", "{failed:?}");
    assert_eq!(Passt::all_under(lab.node.root()).unwrap().len(), 1);
    lab.assert_no_orphans();
}

#[test_on(Passt, Ch, Kvm)]
fn passt_that_fails_takes_the_start_back() {
    let lab = Lab::new("");
    let script = |name: &str, text: &str| {
        let path = lab.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
        path.display().to_string()
    };
    let dies = script(
        "dies",
        "case $1 in --help) echo --vhost-user --repair-path;; --version) ;; *) echo 'cannot enter a user namespace' >&2; exit 1;; esac",
    );
    let old = script("old", "echo 'Usage: passt [OPTION]...' >&2; exit 1");
    for (program, code, part) in [
        (dies, "passt-failed", "ended at once: cannot enter a user namespace"),
        (old, "passt-too-old", "cannot serve a virtual machine"),
        ("/nowhere/passt".into(), "passt-missing", "cannot run /nowhere/passt"),
    ] {
        let node = lab.reconfigured(&config(&program, ""));
        let mut made = node.create(&virshle_core::CreateRequest::new("xs"), &|_| {}).unwrap();
        let vm = made.remove(0).result.unwrap();
        let error = vm.start(&patient()).unwrap_err();
        let StartError::Hardware(HardwareError::UserNetwork { source, .. }) = &error else {
            panic!("{error:?}")
        };
        assert!(source.to_string().contains(part), "{source}");
        assert_eq!(error.code(), code);
        assert!(error.hint().is_some(), "{error}");
        assert_eq!(vm.state(), VmState::Stopped);
        assert!(vm.info().last_exit.is_none());
        assert_no_passt(&node, &vm);
        assert!(node.check().unwrap().orphans.is_empty());
    }
}

#[test_on(Passt, Ch, Kvm)]
fn passt_is_not_started_for_a_port_that_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let lab = lab(&format!("publish = ['{port}:80', '9:9/udp']"));
    let vm = lab.create("xs");
    let error = vm.start(&patient()).unwrap_err();
    let StartError::Hardware(HardwareError::UserNetwork { source, .. }) = &error else {
        panic!("{error:?}")
    };
    let PasstError::PortTaken { holder: Some(holder), .. } = source else { panic!("{source:?}") };
    assert_eq!(holder.pid, std::process::id());
    assert!(!vm.vmm_log().exists(), "a VMM was started");
}

#[test_on(Passt, Ch, Kvm)]
fn passt_stays_with_a_machine_that_is_not_removed() {
    let lab = lab("");
    let vm = lab.create("xs");
    vm.start(&patient()).unwrap();
    let error = vm.remove(Force::No).unwrap_err();
    assert!(matches!(error, virshle_core::RemoveError::Machine(MachineError::WrongState { .. })));
    assert!(passt_of(&vm).is_some());
}
