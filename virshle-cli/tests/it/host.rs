//! A host that lacks a requirement, or whose parts misbehave: reported within a deadline, and nothing is left
//! behind.

use std::process::Command;

use virshle_testkit::{FakeProgram, LoopFilesystem, NetNamespace, OpenVswitch, TestKernel};
use virshle_testkit_macros::test_on;

use crate::home::{Home, Ran, machines_below, ran};

/// A home whose template `xs` is on a tap, and `full` has a disk from an image of 1 MiB.
fn home(ovsdb: &str, program: &str) -> Home {
    let home = Home::new();
    let kernel = TestKernel::halt().write(&home.path("")).unwrap();
    std::fs::rename(kernel, home.path("kernel")).unwrap();
    home.write_config(&format!(
        "[network]\novsdb = {ovsdb:?}\n[hypervisor]\nprogram = {program:?}\n\
         [[template.vm]]\nname = \"alone\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
         [[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
         [[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.tap]\n\
         [[template.vm]]\nname = \"full\"\nvcpu = 1\nvram = \"16MiB\"\nkernel = \"HOME/kernel\"\n\
         [[template.vm.disk]]\nname = \"os\"\npath = \"big.raw\"\n"
    ));
    home
}

fn real_program() -> String {
    std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into())
}

/// Asserts that the start failed with `texts`, and left the machine as it was.
#[track_caller]
fn refused(home: &Home, start: &Ran, texts: &[&str]) {
    start.fails_with(5, &["error: ", "hint: "]);
    start.fails_with(5, texts);
    let machine = &home.json("vm info 1");
    assert_eq!(machine["state"], "stopped");
    assert_eq!(machine["last_exit"], serde_json::Value::Null);
    let directory = machine["dir"].as_str().unwrap();
    for name in ["ch.sock", "ch.vsock", "run.json"] {
        assert!(!std::path::Path::new(directory).join(name).exists(), "{name} is left");
    }
}

#[test_on(Kvm)]
fn kvm_a_vmm_that_is_absent_too_old_or_dying_is_reported() {
    let home = home("unix:HOME/no-ovsdb.sock", "HOME/cloud-hypervisor");
    home.ok("vm create -t alone");
    refused(&home, &home.run("vm start 1"), &["cannot run", "install cloud-hypervisor"]);
    let old = "[ \"$1\" = --version ] && echo 'cloud-hypervisor v30.0' && exit\nexit 2";
    FakeProgram::script(old).write(&home.path("")).unwrap();
    refused(&home, &home.run("vm start 1"), &["30.0", "install a newer"]);
    let dying = "[ \"$1\" = --version ] && echo 'cloud-hypervisor v53.0' && exit\n\
                 echo 'Error: no memory' >&2\nexit 1";
    FakeProgram::script(dying).write(&home.path("")).unwrap();
    let start = home.run("vm start 1");
    start.fails_with(5, &["ended while it started (exit status: 1)", "Error: no memory"]);
    assert_eq!(home.json("vm info 1")["state"], "stopped");
}

#[test_on(Root)]
fn root_a_host_without_kvm_is_reported() {
    let home = home("unix:HOME/no-ovsdb.sock", &real_program());
    home.ok("vm create -t alone");
    // A mount namespace of its own, in which /dev has next to nothing.
    let script = "mount -t tmpfs tmpfs /dev && mknod /dev/null c 1 3 && exec \"$0\" vm start 1";
    let mut without = Command::new("unshare");
    without.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_v")]);
    without.env("VIRSHLE_CONFIG", home.config()).env("VIRSHLE_ROOT", home.root());
    refused(&home, &ran(&mut without), &["/dev/kvm cannot be opened"]);
}

#[test_on(Ovs, Ch, Kvm)]
fn ovs_a_switch_that_is_gone_or_dead_is_reported_and_leaves_nothing() {
    let _namespace = NetNamespace::enter().unwrap();
    let mut ovs = OpenVswitch::start();
    let home = home(&ovs.address(), &real_program());
    home.ok("node init");
    home.ok("vm create -t xs");
    ovs.kill_vswitchd();
    refused(&home, &home.run("vm start 1"), &["ovs-vswitchd has not applied"]);
    assert_eq!(ovs.vsctl(&["--no-wait", "list-ports", "br0"]), "");
    ovs.kill_ovsdb();
    refused(&home, &home.run("vm start 1"), &["cannot connect to the Open vSwitch database"]);
    assert_eq!(home.run("node check").code, 5);
    ovs.start_ovsdb();
    ovs.start_vswitchd();
    assert_eq!(home.ok("vm start 1").lines().count(), 1);
    home.ok("vm stop --force 1");
    assert_eq!(ovs.vsctl(&["list-ports", "br0"]), "");
}

#[test_on(Reflink)]
fn root_a_full_disk_creates_no_machine() {
    let home = home("unix:HOME/no-ovsdb.sock", &real_program());
    std::fs::write(home.path("big.raw"), vec![7; 48 << 20]).unwrap();
    let small = LoopFilesystem::ext4(32 << 20).unwrap();
    let root = small.path().join("root");
    let create = home.run(&format!("vm create -t full --root {}", root.display()));
    create.fails_with(1, &["not enough room", "48 MiB", "hint: make room"]);
    assert_eq!(machines_below(&root), 0);
}

#[test]
fn what_is_too_large_for_the_host_is_a_warning_before_it_is_an_error() {
    let home = Home::new();
    home.write_config(
        "[hypervisor]\nprogram = \"HOME/none\"\n[[template.vm]]\nname = \"xl\"\nvcpu = 8000\n\
         vram = 60000\n[[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = \"16MiB\"\n",
    );
    let check = home.run("template check");
    assert_eq!(check.code, 0, "{check:?}");
    for text in ["template \"xl\": vram is 60000 GiB, and this host has", "vcpu is 8000", "is MiB"]
    {
        assert!(check.stderr.contains(text), "{text}: {check:?}");
    }
    assert!(!check.stderr.contains("xs"), "{check:?}");
    let warnings = home.json("template check")["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 2, "{warnings}");
    assert_eq!(warnings[0]["template"], "xl");
    let create = home.run("vm create -t xl --name web");
    assert!(create.code == 0 && create.stderr.contains("vram is 60000 GiB"), "{create:?}");
    assert!(!home.run("vm create -t xs").stderr.contains("vram is"));
    assert!(home.run("node check").stdout.contains("xl: vram is 60000 GiB"));
}

#[test_on(Kvm)]
fn kvm_a_machine_that_cannot_fit_is_not_started() {
    let home = Home::new();
    home.write_config(
        "[hypervisor]\nprogram = \"HOME/none\"\n[[template.vm]]\nname = \"ram\"\nvcpu = 1\n\
         vram = 60000\n[[template.vm]]\nname = \"cpu\"\nvcpu = { boot = 1, max = 8000 }\n\
         vram = \"16MiB\"\n",
    );
    home.ok("vm create -t ram --name ram");
    home.ok("vm create -t cpu --name cpu");
    home.run("vm start ram").fails_with(5, &["too large for this host", "vram is 60000 GiB"]);
    home.run("vm start cpu").fails_with(5, &["vcpu is 8000, and KVM", "hint: "]);
    let error = home.run("vm start ram --json");
    assert!(error.stdout.contains("\"vm-too-large\""), "{error:?}");
}

#[test_on(Ch, Kvm)]
fn ch_a_wrapper_without_exec_is_reported_before_and_at_the_start() {
    let script = |line: &str| FakeProgram::script(&format!("{line} \"{}\" \"$@\"", real_program()));
    let home = home("unix:/nowhere", "HOME/wrap");
    let program = script("").write(&home.path("")).unwrap();
    std::fs::rename(program, home.path("wrap")).unwrap();
    let check = home.run("node check").stdout;
    assert!(check.contains("never becomes cloud-hypervisor"), "{check}");
    home.ok("vm create -t alone --name web");
    home.run("vm start web").fails_with(5, &["did not become cloud-hypervisor", "hint: ", "exec"]);
    assert_eq!(home.json("vm info web")["state"], "stopped");
    // One that takes the descriptors away, and files that are no programs.
    let write = |text: &str| std::fs::write(home.path("wrap"), text).unwrap();
    write(&format!(
        "#!/usr/bin/python3\nimport subprocess, sys\nsys.exit(subprocess.call(['{}'] + sys.argv[1:]))\n",
        real_program()
    ));
    home.run("vm start web").fails_with(5, &["hint: a script has to become cloud-hypervisor"]);
    write("#!/nowhere/sh\nexec cloud-hypervisor\n");
    home.run("vm start web").fails_with(5, &["hint: the file is there, and the interpreter"]);
    write("<html>404</html>\n");
    home.run("vm start web").fails_with(5, &["hint: it is no program for this processor"]);
    assert!(home.run("node check").stdout.contains("it is no program for this processor"));
    // Written so that a look at it shows nothing.
    let program = script("exec true; ").write(&home.path("")).unwrap();
    std::fs::rename(program, home.path("wrap")).unwrap();
    assert!(!home.run("node check").stdout.contains("never becomes"));
}

#[test_on(Ch, Kvm)]
fn ch_a_failed_start_shows_of_the_log_what_concerns_it() {
    let home = home("unix:/nowhere", &real_program());
    std::fs::write(home.path("kernel"), "no kernel").unwrap();
    home.ok("vm create -t alone --name web");
    let ran = home.run("vm start web");
    ran.fails_with(1, &["cannot boot machine web", "caused by: Kernel Loader"]);
    assert!(!ran.stderr.contains("INFO:"), "{ran:?}");
}

/// Regression: the signal ended it without a word, and left what it had begun.
#[test]
fn a_limit_of_file_sizes_is_an_error_and_no_signal() {
    let home = Home::new();
    let inner = home.command(&["vm", "create", "-t", "disk", "--name", "web"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 64; exec \"$@\"", "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).current_dir(home.path(""));
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let limited = ran(&mut command);
    limited.fails_with(1, &["cannot", "File too large", "ulimit -f"]);
    assert_eq!(machines_below(&home.root()), 0);
    home.ok("vm create -t disk --name web");
}

/// Regression: a disk's write beyond the caller's `ulimit -f` ended the VMM (#12).
#[test_on(Ch, Kvm)]
fn ch_a_vmm_writes_files_as_large_as_it_may_whatever_the_callers_limit() {
    let home = home("unix:/nowhere", &real_program());
    virshle_testkit::TestKernel::halt().write(&home.path("")).unwrap();
    home.ok("vm create -t alone --name web");
    let inner = home.command(&["vm", "start", "web"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -f 2048; exec \"$@\"", "sh"]).arg(inner.get_program());
    command.args(inner.get_args()).current_dir(home.path(""));
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let started = ran(&mut command);
    assert_eq!(started.code, 0, "{started:?}");
    let pid = home.json("vm info web")["pid"].as_u64().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max file size")).unwrap();
    let [.., soft, hard, _] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    assert_eq!(soft, hard, "{line}");
    home.ok("vm stop --force web");
}

#[test]
fn leases_of_an_unknown_format_are_reported() {
    let home = Home::new();
    std::fs::write(home.path("dhcpd.leases"), "lease 192.0.2.1 {\n}\n").unwrap();
    home.write_config("[network]\novsdb = \"unix:HOME/no.sock\"\nleases = [\"HOME/dhcpd.leases\", \"HOME/none\"]\n");
    let check = home.run("node check").stdout;
    assert!(check.contains("dhcpd.leases has no leases in a format that is known"), "{check}");
    assert!(check.contains("none: No such file") && check.contains("dnsmasq"), "{check}");
}
