//! Supervision, with a systemd of the test's own that takes what it is asked for and does nothing.

use std::time::{Duration, Instant};

use virshle_core::hypervisor::{LogKeeper, Vmm};
use virshle_core::template::RestartPolicy;
use virshle_core::{
    Change, EndedOutcome, LastExit, RestartOutcome, Setting, ShutdownOutcome, StopRequest, Vm,
    VmState,
};
use virshle_testkit::{BusAct, BusCall, FakeSystemd, TestKernel};
use virshle_testkit_macros::test_on;

use crate::lab::{LEAST, Lab, patient};

/// Only what has gone wrong takes that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node that is supervised by `systemd`, with a machine.
fn supervised(systemd: &FakeSystemd, kernel: &TestKernel) -> (Lab, Vm) {
    let text = format!("[node]\nsystemd = {:?}\n{LEAST}", systemd.socket());
    let lab = Lab::with_kernel(&text, kernel);
    let vm = lab.create("xs");
    (lab, vm)
}

fn start(vm: &Vm) -> Change {
    vm.start(&patient()).unwrap()
}

fn vmm(vm: &Vm) -> Option<Vmm> {
    Vmm::find(&vm.api_socket(), &vm.node().config().hypervisor.program).unwrap()
}

/// Kills the machine's process, as the kernel or an administrator does.
fn crash(vm: &Vm) {
    let vmm = vmm(vm).unwrap();
    vmm.kill().unwrap();
    assert!(vmm.wait_exit(PATIENCE));
}

fn wait_until_ended(vm: &Vm) {
    if let Some(vmm) = vmm(vm) {
        assert!(vmm.wait_exit(PATIENCE), "it runs on");
    }
}

/// The calls for units of that type.
fn units(systemd: &FakeSystemd, kind: &str) -> Vec<BusCall> {
    let mut calls = systemd.calls();
    calls.retain(|call| call.unit().ends_with(kind));
    calls
}

fn set(vm: &Vm, restart: RestartPolicy) -> Vm {
    vm.set(&[Setting::Restart(restart)]).unwrap();
    vm.node().vm(vm.definition().uuid).unwrap()
}

fn ended(vm: &Vm) -> EndedOutcome {
    vm.node().ended(vm.definition().uuid).unwrap()
}

fn restart(vm: &Vm, attempt: u32) -> RestartOutcome {
    vm.node().restart_ended(vm.definition().uuid, attempt, &patient()).unwrap()
}

#[test_on(Ch, Kvm)]
fn ch_a_machine_gets_a_scope_with_its_limits() {
    let systemd = FakeSystemd::willing().unwrap();
    let text = format!(
        "[node]\nsystemd = {:?}\n{LEAST}[template.vm.limits]\ncpu_weight = 7\n",
        systemd.socket()
    );
    let lab = Lab::new(&text);
    // It takes in the log as well as any.
    lab.node.keep_logs_by(LogKeeper::new("/bin/cat", &["-"]));
    let vm = lab.create("xs");
    start(&vm);
    let calls = systemd.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].unit(), format!("virshle-{}.scope", vm.name()));
    let properties = calls[0].properties();
    let pid = vm.info().pid.unwrap();
    // What keeps its logs is in it, too.
    assert_eq!(properties["PIDs"][0], pid);
    let keeper = properties["PIDs"][1].as_u64().unwrap();
    assert_eq!(std::fs::read_to_string(format!("/proc/{keeper}/comm")).unwrap(), "cat\n");
    assert_eq!(properties["Slice"], "machine.slice");
    assert_eq!(properties["Before"], serde_json::json!(["virshle.service"]));
    // The node is not where `v` looks for one: the machine is named by its directory.
    let ended = properties["OnSuccess"][0].as_str().unwrap();
    assert!(ended.starts_with("virshle-ended@-") && ended.ends_with(".service"), "{ended}");
    assert!(ended.contains(&vm.definition().uuid.to_string().replace('-', "\\x2d")), "{ended}");
    assert_eq!(properties["OnFailure"], properties["OnSuccess"]);
    assert_eq!(properties["CPUWeight"], 7);
    assert!(properties["MemoryMax"].as_u64().unwrap() > 64 << 20);
    // It does not move processes, so that the machine is outside of its scope: a start adopts it.
    assert_eq!(start(&vm), Change::Unchanged);
    assert_eq!(units(&systemd, ".scope").len(), 2);
    vm.stop(&StopRequest::force()).unwrap();
}

#[test_on(Ch, Kvm)]
fn ch_a_scope_that_is_left_over_is_no_obstacle() {
    let systemd = FakeSystemd::start(|call| {
        let spare = call.unit().matches('-').count() > 1;
        match spare {
            false => BusAct::Error("org.freedesktop.systemd1.UnitExists", "it is there"),
            true => BusAct::Job,
        }
    })
    .unwrap();
    let text = format!("[node]\nsystemd = {:?}\n{LEAST}", systemd.socket());
    let lab = Lab::new(&text);
    let request = virshle_core::CreateRequest::new("xs").name("web".parse().unwrap());
    let vm = lab.node.create(&request, &|_| {}).unwrap().remove(0).result.unwrap();
    start(&vm);
    let names: Vec<String> = systemd.calls().iter().map(|call| call.unit().to_owned()).collect();
    let uuid = vm.definition().uuid.to_string();
    assert_eq!(
        names,
        ["virshle-web.scope".to_owned(), format!("virshle-web-{}.scope", &uuid[..8])]
    );
    vm.stop(&StopRequest::force()).unwrap();
}

#[test_on(Ch, Kvm)]
fn ch_without_an_answer_of_systemd_a_machine_starts_as_well() {
    let refused = BusAct::Error("org.freedesktop.DBus.Error.AccessDenied", "no");
    for act in [BusAct::Silence, BusAct::Close, refused, BusAct::Bytes(vec![0; 99])] {
        let silent = matches!(act, BusAct::Silence);
        let systemd = FakeSystemd::start(move |_| act.clone()).unwrap();
        let (lab, vm) = supervised(&systemd, &TestKernel::halt());
        let begin = Instant::now();
        start(&vm);
        assert_eq!(vm.state(), VmState::Running);
        assert!(!silent || begin.elapsed() >= Duration::from_millis(900), "it was not waited for");
        vm.stop(&StopRequest::force()).unwrap();
        lab.assert_no_orphans();
    }
}

#[test_on(Ch, Kvm)]
fn ch_the_end_of_a_run_is_recorded_and_cleared_once() {
    let systemd = FakeSystemd::willing().unwrap();
    let (lab, vm) = supervised(&systemd, &TestKernel::power_off());
    assert_eq!(ended(&vm), EndedOutcome::NotEnded, "it never ran");
    start(&vm);
    wait_until_ended(&vm);
    assert_eq!(ended(&vm), EndedOutcome::Left { exit: LastExit::Guest });
    assert!(!vm.vsock().exists());
    lab.assert_no_orphans();
    let history = vm.history();
    assert_eq!(history.len(), 1, "{history:?}");
    assert_eq!((history[0].exit, history[0].by.as_deref()), (LastExit::Guest, Some("guest")));
    assert!(history[0].began.is_some() && history[0].seconds.is_some());
    assert!(history[0].evidence.iter().any(|line| line.starts_with("event: ")), "{history:?}");
    assert_eq!(ended(&vm), EndedOutcome::Left { exit: LastExit::Guest });
    assert_eq!(vm.history(), history, "an end that is looked at twice is one end");
    assert!(units(&systemd, ".timer").is_empty());
}

#[test_on(Ch, Kvm)]
fn ch_a_machine_that_crashes_is_restarted_and_by_hand_it_stays_off() {
    let systemd = FakeSystemd::willing().unwrap();
    let (lab, vm) = supervised(&systemd, &TestKernel::halt());
    let vm = set(&vm, RestartPolicy::OnFailure);
    start(&vm);
    assert_eq!(ended(&vm), EndedOutcome::NotEnded, "it runs");
    for number in 1..=3 {
        crash(&vm);
        let EndedOutcome::Restarts { exit, attempt, .. } = ended(&vm) else { panic!() };
        assert_eq!((exit, attempt), (LastExit::Crashed, number));
        let timers = units(&systemd, ".timer");
        assert_eq!(timers.len(), usize::try_from(number).unwrap());
        let timer = timers.last().unwrap();
        assert!(timer.unit().ends_with(&format!(":{number}.timer")), "{}", timer.unit());
        let wait = &timer.properties()["TimersMonotonic"][0][1];
        assert_eq!(wait.as_u64(), Some(1_000_000 << (number - 1)));
        let info = vm.info();
        assert!(info.restart.next.is_some(), "{info:?}");
        assert_eq!(info.restart.policy, "on-failure");
        // One of before, and one that was never armed.
        assert_eq!(restart(&vm, number + 1), RestartOutcome::Void);
        assert_eq!(restart(&vm, number), RestartOutcome::Started);
        assert_eq!(restart(&vm, number), RestartOutcome::Void, "it runs");
        assert_eq!(vm.info().restart.attempts, number);
    }
    // By hand it stays off, also while a restart is due.
    crash(&vm);
    assert!(matches!(ended(&vm), EndedOutcome::Restarts { attempt: 4, .. }));
    vm.stop(&StopRequest::force()).unwrap();
    assert_eq!(restart(&vm, 4), RestartOutcome::Void);
    assert_eq!(vm.state(), VmState::Stopped);
    // Started by hand, it begins another row.
    start(&vm);
    crash(&vm);
    let outcome = ended(&vm);
    let history = vm.history();
    assert!(
        matches!(outcome, EndedOutcome::Restarts { attempt: 1, .. }),
        "{outcome:?} {history:#?}"
    );
    lab.assert_no_orphans();
}

#[test_on(Ch, Kvm)]
fn ch_a_restart_that_fails_is_tried_again_and_then_no_more() {
    let systemd = FakeSystemd::willing().unwrap();
    let (lab, vm) = supervised(&systemd, &TestKernel::halt());
    let vm = set(&vm, RestartPolicy::Always);
    start(&vm);
    crash(&vm);
    std::fs::remove_file(lab.path("kernel")).unwrap();
    assert!(matches!(ended(&vm), EndedOutcome::Restarts { attempt: 1, .. }));
    for attempt in 1..=10 {
        let node = vm.node();
        let failed = node.restart_ended(vm.definition().uuid, attempt, &patient());
        assert!(failed.is_err(), "{failed:?}");
    }
    let restart = vm.info().restart;
    assert_eq!((restart.attempts, restart.next), (10, None));
    let why = restart.held_back.unwrap();
    assert!(why.contains("10 restarts") && why.contains("kernel"), "{why}");
    assert_eq!(units(&systemd, ".timer").len(), 10);
    lab.assert_no_orphans();
}

#[test_on(Ch, Kvm)]
fn ch_without_systemd_it_is_said_why_there_is_no_restart() {
    let lab = Lab::new(LEAST);
    let vm = set(&lab.create("xs"), RestartPolicy::Always);
    start(&vm);
    crash(&vm);
    assert_eq!(vm.history()[0].exit, LastExit::Crashed, "before any process has recorded it");
    assert_eq!(ended(&vm), EndedOutcome::HeldBack { exit: LastExit::Crashed });
    assert!(vm.info().restart.held_back.unwrap().contains("systemd"));
    assert_eq!(vm.history().len(), 1);
}

#[test_on(Ch, Kvm)]
fn ch_the_host_goes_down_and_a_guest_that_is_deaf_delays_no_other() {
    let lab = Lab::with_kernel(LEAST, &TestKernel::obeys());
    let polite = lab.create("xs");
    start(&polite);
    let written = TestKernel::halt().write(&lab.path("")).unwrap();
    std::fs::rename(written, lab.path("kernel")).unwrap();
    let deaf = lab.create("xs");
    start(&deaf);
    let stopped = lab.create("xs");
    let outcomes = std::sync::Mutex::new(Vec::new());
    let timeout = Duration::from_secs(3);
    let begin = Instant::now();
    lab.node
        .shutdown(timeout, &|vm, result| {
            let outcome = (vm.definition().id, result.unwrap(), begin.elapsed());
            outcomes.lock().unwrap().push(outcome);
        })
        .unwrap();
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|(id, ..)| *id);
    let of = |vm: &Vm, outcome| (vm.definition().id, outcome);
    let found: Vec<_> = outcomes.iter().map(|(id, outcome, _)| (*id, *outcome)).collect();
    assert_eq!(found, [of(&polite, ShutdownOutcome::ShutDown), of(&deaf, ShutdownOutcome::Cut)]);
    assert!(outcomes[1].2 >= timeout, "{outcomes:?}");
    for vm in [&polite, &deaf] {
        assert_eq!(vm.state(), VmState::Stopped);
        assert_eq!(vm.info().last_exit, Some(LastExit::Host));
        assert_eq!(vm.history()[0].by.as_deref(), Some("host"));
    }
    assert!(stopped.history().is_empty());
    lab.assert_no_orphans();
}

#[test_on(Ch, Kvm)]
fn ch_limits_of_a_machine_that_runs_are_its_scopes_at_once() {
    let systemd = FakeSystemd::willing().unwrap();
    let (_lab, vm) = supervised(&systemd, &TestKernel::halt());
    let set = |text: &str| vm.set(&[text.parse().unwrap()]).unwrap();
    assert_eq!(set("pids=99"), Change::Done);
    assert!(systemd.calls().is_empty(), "it does not run");
    start(&vm);
    assert_eq!(set("cpu_limit=150%"), Change::Done);
    assert_eq!(set("cpu_limit=150%"), Change::Unchanged);
    assert_eq!(set("pids="), Change::Done);
    assert_eq!(set("restart=always"), Change::Done);
    let calls = systemd.calls();
    let found: Vec<_> = calls
        .iter()
        .filter(|call| call.method == "SetUnitProperties")
        .map(|call| (call.unit().to_owned(), serde_json::Value::from(call.properties())))
        .collect();
    let scope = format!("virshle-{}.scope", vm.name());
    let expected = [
        (scope.clone(), serde_json::json!({"CPUQuotaPerSecUSec": 1_500_000})),
        (scope, serde_json::json!({"TasksMax": u64::MAX})),
    ];
    assert_eq!(found, expected);
    assert_eq!(vm.node().vm(vm.uuid()).unwrap().definition().limits.cpu_limit_percent, Some(150));
    vm.stop(&StopRequest::force()).unwrap();
}

#[test_on(Ch, Kvm)]
fn ch_nothing_starts_while_the_host_goes_down() {
    let name = "org.freedesktop.systemd1.TransactionIsDestructive";
    let systemd = FakeSystemd::start(move |_| BusAct::Error(name, "it is to be stopped")).unwrap();
    let (lab, vm) = supervised(&systemd, &TestKernel::halt());
    let error = virshle_core::CoreError::from(vm.start(&patient()).unwrap_err());
    assert_eq!(error.code(), "host-goes-down", "{error}");
    assert_eq!(vm.state(), VmState::Stopped);
    assert!(vm.history().is_empty());
    lab.assert_no_orphans();
}

#[test_on(Ch, Kvm)]
fn ch_a_start_that_is_under_way_is_shut_down_with_the_host() {
    // It takes its second for an answer that never comes.
    let systemd = FakeSystemd::start(|_| BusAct::Silence).unwrap();
    let (lab, vm) = supervised(&systemd, &TestKernel::obeys());
    let outcomes = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let started = scope.spawn(|| vm.start(&patient()));
        assert!(!systemd.wait_for_calls(1).is_empty());
        lab.node
            .shutdown(PATIENCE, &|_, result| outcomes.lock().unwrap().push(result.unwrap()))
            .unwrap();
        assert_eq!(started.join().unwrap().unwrap(), Change::Done);
    });
    assert_eq!(outcomes.into_inner().unwrap(), [ShutdownOutcome::ShutDown]);
    assert_eq!(vm.state(), VmState::Stopped);
    assert_eq!(vm.history()[0].exit, LastExit::Host);
    lab.assert_no_orphans();
}

#[test_on(Ch, Kvm)]
fn ch_a_restart_that_is_due_is_void_once_all_were_shut_down() {
    let systemd = FakeSystemd::willing().unwrap();
    let (lab, vm) = supervised(&systemd, &TestKernel::halt());
    let vm = set(&vm, RestartPolicy::OnFailure);
    start(&vm);
    crash(&vm);
    assert!(matches!(ended(&vm), EndedOutcome::Restarts { attempt: 1, .. }));
    lab.node.shutdown(PATIENCE, &|_, _| {}).unwrap();
    assert_eq!(restart(&vm, 1), RestartOutcome::Void);
    assert_eq!(vm.state(), VmState::Stopped);
}

#[test]
fn machines_that_start_with_the_host_have_an_order() {
    let lab = Lab::new(LEAST);
    let vms: Vec<Vm> = (0..5).map(|_| lab.create("xs")).collect();
    let on = Setting::Autostart(true);
    vms[0].set(std::slice::from_ref(&on)).unwrap();
    vms[1].set(&[on.clone(), Setting::Order(Some(2)), Setting::DelaySeconds(5)]).unwrap();
    vms[2].set(&[on.clone(), Setting::Order(Some(1))]).unwrap();
    vms[3].set(&[on.clone(), Setting::Order(Some(2)), Setting::DelaySeconds(9)]).unwrap();
    assert_eq!(vms[3].set(&[on]).unwrap(), Change::Unchanged);
    let turns = lab.node.boot_order().unwrap();
    let ids: Vec<Vec<u64>> =
        turns.iter().map(|turn| turn.vms.iter().map(|vm| vm.definition().id).collect()).collect();
    assert_eq!(ids, [vec![3], vec![2, 4], vec![1]]);
    assert_eq!(turns[1].delay, Duration::from_secs(9));
}

#[test]
fn a_check_says_who_supervises_the_machines() {
    let finding = |systemd: &str| {
        let lab = Lab::new(&format!("[node]\nsystemd = {systemd:?}\n{LEAST}"));
        let findings = lab.node.check().unwrap().findings;
        findings
            .into_iter()
            .filter(|finding| finding.subject == "systemd" || finding.subject == "units")
            .map(|finding| finding.message)
            .collect::<Vec<_>>()
    };
    assert!(finding("off")[0].contains("as configured"));
    assert!(finding("/nowhere/private")[0].contains("not shut down with the host"));
    let systemd = FakeSystemd::start(|call| match call.method.as_str() {
        "Get" => BusAct::Property("252".into()),
        _ if call.unit().starts_with("virshle.") => BusAct::Property("disabled".into()),
        _ => BusAct::Error("org.freedesktop.DBus.Error.FileNotFound", "no such file"),
    })
    .unwrap();
    let found = finding(systemd.socket().to_str().unwrap());
    // Of the switch, whose restart another unit follows, a user's manager knows nothing.
    let heals = usize::from(rustix::process::geteuid().is_root());
    assert_eq!(found.len(), 4 + heals, "{found:?}");
    assert!(found[0].starts_with("252 ") && found[1].contains("virshle-ended@"), "{found:?}");
    assert_eq!(found[3].starts_with("virshle-heal.service is not installed"), heals == 1);
}

/// More than half of the host's memory, in MiB.
fn more_than_half() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let kib: u64 = kib.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
    kib / 1024 * 6 / 10
}

#[test_on(Ch, Kvm)]
fn ch_memory_is_shared_out_once_where_more_is_refused() {
    let large = LEAST.replace("64MiB", &format!("{}MiB", more_than_half()));
    let refusing = format!("[node]\novercommit_memory = false\n{large}");
    let lab = Lab::new(&refusing);
    let (first, second) = (lab.create("xs"), lab.create("xs"));
    start(&first);
    let error = virshle_core::CoreError::from(second.start(&patient()).unwrap_err());
    assert_eq!(error.code(), "memory-overcommitted", "{error}");
    assert!(error.to_string().contains("this host has"), "{error}");
    assert_eq!(second.state(), VmState::Stopped);
    lab.assert_no_orphans();
    first.stop(&StopRequest::force()).unwrap();
    start(&second);
    second.stop(&StopRequest::force()).unwrap();
    // Where it is not refused, it is only said.
    let node = lab.reconfigured(&large);
    for vm in [&first, &second] {
        let vm = node.vm(vm.definition().uuid).unwrap();
        start(&vm);
    }
    for vm in [&first, &second] {
        vm.stop(&StopRequest::force()).unwrap();
    }
}
