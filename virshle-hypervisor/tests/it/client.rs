//! A server that misbehaves, and a real one.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use virshle_hypervisor::{
    Client, DiskConfig, HypervisorError, ImageType, Launch, NetConfig, ReceiveMigration, Resize,
    Restore, SendMigration, VmState, VsockConfig,
};
use virshle_testkit::{FakeAnswer, FakeHypervisor};
use virshle_testkit_macros::test_on;

use crate::machine::{IN_TIME, Machine, SOON, chain, launch, program};

fn ask(answer: FakeAnswer, timeout: Duration) -> HypervisorError {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    let _server = FakeHypervisor::start(&socket, &[("vmm.ping", answer)]).unwrap();
    Client::connect(&socket, timeout).unwrap().ping().unwrap_err()
}

#[test]
fn garbage_is_malformed_and_not_a_panic() {
    for garbage in ["\0\0\0\0", "220 smtp.example.org ESMTP\r\n", "HTTP/1.1 OK\r\n\r\n"] {
        let error = ask(FakeAnswer::Bytes(garbage.into()), SOON);
        assert!(matches!(error, HypervisorError::Malformed { .. }), "{garbage:?}: {error:?}");
    }
    let error = ask(FakeAnswer::Json(200, "{\"version\": 53}".into()), SOON);
    assert!(matches!(error, HypervisorError::Malformed { .. }), "{error:?}");
    let error = ask(FakeAnswer::Json(200, String::new()), SOON);
    assert_eq!(chain(&error)[1], "the answer has no body");
}

#[test]
fn half_an_answer_is_a_broken_connection() {
    let half = b"HTTP/1.1 200 \r\nContent-Length: 100\r\n\r\n{\"version\"".to_vec();
    let error = ask(FakeAnswer::Cut(half.clone()), SOON);
    assert!(matches!(error, HypervisorError::Broken { .. }), "{error:?}");
    let error = ask(FakeAnswer::Cut(Vec::new()), SOON);
    assert!(matches!(error, HypervisorError::Broken { .. }), "{error:?}");
    let error = ask(FakeAnswer::Bytes(half), Duration::from_millis(50));
    assert!(error.timed_out(), "{error:?}");
}

#[test]
fn silence_ends_at_the_deadline_and_names_what_was_awaited() {
    let before = Instant::now();
    let error = ask(FakeAnswer::Silence, Duration::from_millis(100));
    assert!(before.elapsed() < IN_TIME);
    assert!(error.timed_out());
    let message = error.to_string();
    assert!(message.starts_with("no answer to vmm.ping from "), "{message}");
    assert!(message.ends_with(" within 100 ms"), "{message}");
}

#[test]
fn no_timeout_is_too_long() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    let pong = FakeAnswer::Json(200, "{\"version\": \"v53.0\"}".into());
    let boot = FakeAnswer::Json(204, String::new());
    let _server = FakeHypervisor::start(&socket, &[("vmm.ping", pong), ("vm.boot", boot)]).unwrap();
    let client = Client::connect(&socket, Duration::MAX).unwrap();
    client.ping().unwrap();
    client.within(Duration::MAX).start_boot().unwrap().wait(Duration::MAX).unwrap();
}

#[test_on(Ch, Kvm)]
fn ch_no_timeout_is_too_long() {
    let directory = tempfile::tempdir().unwrap();
    let vmm = launch(directory.path()).start_timeout(Duration::MAX).spawn().unwrap();
    vmm.client(Duration::MAX).ping().unwrap();
    virshle_hypervisor::version(&program(), Duration::MAX).unwrap();
    assert!(vmm.terminate(Duration::MAX).unwrap());
    assert!(vmm.wait_exit(Duration::MAX));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let error = ask(FakeAnswer::Endless, SOON);
    assert!(matches!(error, HypervisorError::Malformed { .. }), "{error:?}");
    let huge = b"HTTP/1.1 200 \r\nContent-Length: 99999999999\r\n\r\n".to_vec();
    let error = ask(FakeAnswer::Bytes(huge), SOON);
    assert!(matches!(error, HypervisorError::Malformed { .. }), "{error:?}");
}

#[test]
fn a_refusal_carries_status_and_causes() {
    let body = r#"["Error from API", "The VM could not boot", "No space left on device"]"#;
    let error = ask(FakeAnswer::Json(500, body.into()), SOON);
    assert_eq!(
        chain(&error),
        [
            "cloud-hypervisor refused vmm.ping (status 500)",
            "Error from API",
            "The VM could not boot",
            "No space left on device"
        ]
    );
    let error = ask(FakeAnswer::Json(429, String::new()), SOON);
    assert!(matches!(error, HypervisorError::Refused { status: 429, causes: None, .. }));
}

#[test]
fn a_client_works_after_a_call_that_failed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    let answers = [
        ("vmm.ping", FakeAnswer::Json(200, json!({"version": "53.0.0", "pid": 1}).to_string())),
        ("vm.boot", FakeAnswer::Silence),
        ("vm.pause", FakeAnswer::Cut(b"HTTP/1.1 204 \r\n\r\n".to_vec())),
    ];
    let server = FakeHypervisor::start(&socket, &answers).unwrap();
    let client = Client::connect(&socket, SOON).unwrap();
    assert!(client.within(Duration::from_millis(50)).boot().unwrap_err().timed_out());
    assert_eq!(client.ping().unwrap().version, "53.0.0");
    // The server closes the connection after this answer; the next call takes another.
    client.pause().unwrap();
    client.ping().unwrap();
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn descriptors_travel_with_their_request() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ch.sock");
    let added = FakeAnswer::Json(200, r#"{"id": "main", "bdf": "0000:00:04.0"}"#.into());
    let server = FakeHypervisor::start(&socket, &[("vm.add-net", added)]).unwrap();
    let client = Client::connect(&socket, SOON).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let net = NetConfig::descriptors(3).id("main");
    let device = client.add_net_with_fds(&net, &[file.as_fd(); 3]).unwrap().unwrap();
    assert_eq!(device.bdf, "0000:00:04.0");
    let requests = server.requests();
    assert_eq!(requests[0].line, "PUT /api/v1/vm.add-net");
    assert_eq!(requests[0].descriptors, 3);
    let body: serde_json::Value = serde_json::from_str(&requests[0].body).unwrap();
    assert_eq!(body, json!({"id": "main", "num_queues": 6}));

    // More than the kernel takes in one message.
    let error = client.add_net_with_fds(&net, &[file.as_fd(); 254]).unwrap_err();
    assert!(matches!(error, HypervisorError::Broken { .. }), "{error:?}");
}

#[test]
fn an_absent_server_is_no_timeout() {
    let error = Client::connect(Path::new("/nowhere/ch.sock"), SOON).unwrap_err();
    assert!(error.nobody_listens());
    assert_eq!(error.to_string(), "cannot connect to the API socket /nowhere/ch.sock");
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("ch.sock");
    virshle_testkit::stale_socket(&stale).unwrap();
    assert!(Client::connect(&stale, SOON).unwrap_err().nobody_listens());
    let long = directory.path().join("x".repeat(120));
    let error = Client::connect(&long, SOON).unwrap_err();
    assert!(!error.nobody_listens());
}

#[test_on(Ch, Kvm)]
fn ch_every_endpoint_is_known_to_the_server() {
    let machine = Machine::start();
    let client = machine.client();
    let directory = machine.directory.path();
    let disk = DiskConfig::new("/nowhere", ImageType::Raw);
    let object = json!({"path": "/n", "socket": "/n", "file": "/n", "tag": "t", "num_queues": 1,
        "queue_size": 2, "queue_sizes": [2], "device_type": 1});
    let results = [
        ("vm.info", client.info().map(drop)),
        ("vm.counters", client.counters().map(drop)),
        ("vm.boot", client.boot()),
        ("vm.shutdown", client.shutdown_vm()),
        ("vm.reboot", client.reboot()),
        ("vm.pause", client.pause()),
        ("vm.resume", client.resume()),
        ("vm.power-button", client.power_button()),
        ("vm.nmi", client.nmi()),
        ("vm.resize", client.resize(&Resize::default())),
        ("vm.resize-disk", client.resize_disk("d", 512)),
        ("vm.resize-zone", client.resize_zone("z", 512)),
        ("vm.add-disk", client.add_disk(&disk).map(drop)),
        ("vm.add-net", client.add_net(&NetConfig::tap("t")).map(drop)),
        ("vm.add-vsock", client.add_vsock(&VsockConfig::new(3, "/n")).map(drop)),
        ("vm.add-fs", client.add_fs(&object).map(drop)),
        ("vm.add-pmem", client.add_pmem(&object).map(drop)),
        ("vm.add-vdpa", client.add_vdpa(&object).map(drop)),
        ("vm.add-device", client.add_device(&object, None).map(drop)),
        ("vm.add-user-device", client.add_user_device(&object).map(drop)),
        ("vm.add-generic-vhost-user", client.add_generic_vhost_user(&object).map(drop)),
        ("vm.remove-device", client.remove_device("d")),
        ("vm.snapshot", client.snapshot(directory)),
        ("vm.restore", client.restore(&Restore::new(&directory.join("none")).unwrap(), &[])),
        ("vm.send-migration", client.send_migration(&SendMigration::new("unix:/n"))),
        ("vm.receive-migration", client.receive_migration(&ReceiveMigration::new("no:url"))),
    ];
    for (name, result) in results {
        let Err(HypervisorError::Refused { what, status, causes }) = result else {
            panic!("{name}: {result:?}");
        };
        assert_eq!(what, name);
        let causes: Vec<_> = causes.iter().flat_map(|cause| cause.messages()).collect();
        // A path that it doesn't know, and a body that it can't read, are answered by one line.
        assert!(status != 400 && causes.len() > 1, "{name}: {status} {causes:?}");
    }
    client.delete().unwrap();
    let coredump = client.coredump(&directory.join("core")).unwrap_err();
    assert!(matches!(coredump, HypervisorError::Refused { status: 404 | 500, .. }), "{coredump:?}");
    assert_eq!(coredump.hint(), None, "{coredump:?}");
    assert!(client.ping().unwrap().features.contains(&"kvm".to_owned()));
    client.shutdown_vmm().unwrap();
    assert!(machine.vmm.wait_exit(SOON));
}

#[test_on(Ch, Kvm)]
fn ch_create_checks_nothing_and_boot_reports_why() {
    let machine = Machine::start();
    let client = machine.client();
    let mut config = machine.config(&virshle_testkit::TestKernel::halt());
    config.payload = Some(virshle_hypervisor::PayloadConfig::kernel("/nowhere/vmlinux"));
    client.create(&config).unwrap();
    assert_eq!(client.info().unwrap().state, VmState::Created);
    let error = client.boot().unwrap_err();
    let chain = chain(&error);
    assert_eq!(chain[0], "cloud-hypervisor refused vm.boot (status 500)");
    assert!(chain.len() > 2, "{chain:?}");
    let again = client.boot().unwrap_err();
    assert!(again.hint().unwrap().contains("vm.delete"), "{again:?}");
    client.delete().unwrap();
    client.create(&config).unwrap();
}

/// The hints that only cloud-hypervisor's text gives, from what it really writes; those on locks,
/// on shared memory and on an incomplete machine have tests of their own.
#[test_on(Ch, Kvm)]
fn ch_a_remedy_is_found_in_what_cloud_hypervisor_really_writes() {
    let machine = Machine::start();
    let client = machine.client();
    let socket = machine.path("vsock");
    let _in_the_way = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let config = machine.config(&virshle_testkit::TestKernel::halt());
    client.create(&config.clone().vsock(VsockConfig::new(3, &socket))).unwrap();
    let error = client.pause().unwrap_err();
    assert_eq!(error.hint().unwrap(), "boot the machine first (vm.boot)", "{:?}", chain(&error));
    let error = client.reboot().unwrap_err();
    assert!(matches!(error, HypervisorError::Refused { status: 404, .. }), "{error:?}");
    assert!(error.hint().unwrap().starts_with("create the machine"), "{:?}", chain(&error));
    let error = client.boot().unwrap_err();
    assert!(error.hint().unwrap().contains("socket of an earlier run"), "{:?}", chain(&error));
}

#[test_on(Ch, Kvm, Root)]
fn ch_a_host_without_kvm_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let wrapper = directory.path().join("cloud-hypervisor");
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind /dev/null /dev/kvm && exec {} \"$@\"' sh \"$@\"\n",
        program().display()
    );
    std::fs::write(&wrapper, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wrapper, executable).unwrap();
    let error = Launch::new(&wrapper, &directory.path().join("ch.sock"))
        .log_file(directory.path().join("ch.log"))
        .spawn()
        .unwrap_err();
    assert!(matches!(error, HypervisorError::Died { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("/dev/kvm"), "{:?}", chain(&error));
}
