//! `v node setup`: parts from a web server of the test's own, and from a directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use virshle_testkit::{WebFile, WebServer};
use virshle_testkit_macros::test_on;

use crate::home::{Home, Ran, ran};

/// A version that no host has: what is there already is never good enough.
const VERSION: &str = "v99.0";
/// Something that answers as cloud-hypervisor does.
const PROGRAM: &str =
    "#!/bin/sh\n[ \"$1\" = --version ] && echo 'cloud-hypervisor v99.0' && exit\nexec true\n";
#[cfg(target_arch = "x86_64")]
const FIRMWARE: &str = "CLOUDHV.fd";
#[cfg(not(target_arch = "x86_64"))]
const FIRMWARE: &str = "CLOUDHV_EFI.fd";

/// A home without a configuration of its own hypervisor, and a server with both parts.
struct Lab {
    home: Home,
    server: WebServer,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { home: Home::new(), server: WebServer::start().unwrap() };
        lab.home.write_config(
            "[network]\novsdb = \"unix:HOME/no-ovsdb.sock\"\npasst = \"HOME/no-passt\"\n",
        );
        lab.server.put("/ch/cloud-hypervisor-static", WebFile::new(PROGRAM).etag("\"1\""));
        lab.server.put("/edk2/fw", WebFile::new(firmware()).etag("\"1\""));
        lab.pin(&sha256(PROGRAM.as_bytes()), &sha256(&firmware()));
        lab
    }

    /// Writes the list of releases.
    fn pin(&self, program: &str, firmware: &str) {
        let (ch, fw) =
            (self.server.url("/ch/cloud-hypervisor-static"), self.server.url("/edk2/fw"));
        let text = format!(
            "[[file]]\npart = 'cloud-hypervisor'\nversion = '{VERSION}'\nurl = '{ch}'\nsha256 = '{program}'\n\
             [[file]]\npart = 'firmware'\nversion = 'ch-1'\nurl = '{fw}'\nsha256 = '{firmware}'\n"
        );
        fs::write(self.home.path("releases.toml"), text).unwrap();
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = self.home.command(&["node", "setup", "--releases", "releases.toml"]);
        command.args(more);
        // Neither a firmware of the host's own.
        command.env("HOME", self.home.path(""));
        command
    }

    fn setup(&self, more: &[&str]) -> Ran {
        ran(&mut self.command(more))
    }

    fn program(&self) -> std::path::PathBuf {
        self.home.root().join("bin/cloud-hypervisor")
    }

    fn firmware(&self) -> std::path::PathBuf {
        self.home.root().join("firmware").join(FIRMWARE)
    }
}

fn firmware() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, bytes).unwrap();
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// Whether the host has a firmware already, which is then not brought.
fn has_firmware(lab: &Lab) -> bool {
    let found = lab.home.json_of_any("node check");
    let findings = found["findings"].as_array().unwrap();
    findings.iter().any(|one| one["subject"] == "firmware" && one["level"] == "good")
}

#[test]
fn what_no_distribution_has_is_brought_and_found_without_a_configuration() {
    let lab = Lab::new();
    let brings_firmware = !has_firmware(&lab);
    let dry = lab.setup(&["--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    for text in ["would install cloud-hypervisor v99.0", "cloud-hypervisor-static", "sha256  "] {
        assert!(dry.stdout.contains(text), "{dry:?}");
    }
    assert!(!lab.home.root().exists());
    assert_eq!(lab.server.take_requests(), []);

    let done = lab.setup(&[]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    assert!(done.stdout.contains("installed cloud-hypervisor v99.0: "), "{done:?}");
    assert_eq!(fs::read(lab.program()).unwrap(), PROGRAM.as_bytes());
    assert_eq!(mode(&lab.program()), 0o755);
    if brings_firmware {
        assert!(fs::read(lab.firmware()).unwrap() == firmware());
        assert_eq!(mode(&lab.firmware()), 0o644);
    }
    lab.server.take_requests();
    let again = lab.setup(&[]);
    assert!(again.stdout.contains("cloud-hypervisor v99.0 is there already: "), "{again:?}");
    assert_eq!(lab.server.take_requests(), []);

    let document = ran(&mut lab.command(&["--json"]));
    let document: serde_json::Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["parts"][0]["outcome"], "there");
    assert_eq!(document["parts"][0]["path"], lab.program().display().to_string());
    assert!(document["packages"]["missing"].as_array().unwrap().iter().any(|one| one == "passt"));

    let check = lab.home.run("node check").stdout;
    let good = format!("{} 99.0", lab.program().display());
    assert!(check.contains(&good), "{check}");
}

#[test]
fn a_host_without_it_is_told_of_the_command() {
    let home = Home::new();
    home.write_config("[network]\novsdb = \"unix:HOME/no-ovsdb.sock\"\n");
    // Of an older version than is needed, which the node's own comes before.
    fs::create_dir_all(home.root().join("bin")).unwrap();
    let old = home.root().join("bin/cloud-hypervisor");
    fs::write(&old, PROGRAM.replace("99.0", "30.0")).unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let check = home.run("node check");
    assert_eq!(check.code, 5, "{check:?}");
    let last = check.stdout.trim_end().lines().last().unwrap().to_owned();
    assert!(last.starts_with("`v node setup` downloads cloud-hypervisor"), "{check:?}");
    let found = home.json_of_any("node check");
    let mut findings = found["findings"].as_array().unwrap().iter();
    let hypervisor = findings.find(|one| one["subject"] == "cloud-hypervisor").unwrap();
    assert_eq!(hypervisor["remedy"], "v node setup");
}

#[test]
fn another_file_than_the_pinned_one_is_refused() {
    let lab = Lab::new();
    lab.pin(&"0".repeat(64), &sha256(&firmware()));
    let ran = lab.setup(&[]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for text in ["cannot install cloud-hypervisor v99.0 at ", "is not what was expected", "hint: "]
    {
        assert!(ran.stderr.contains(text), "{ran:?}");
    }
    assert!(!lab.program().exists());
    lab.server.put("/ch/cloud-hypervisor-static", WebFile::status(403));
    let ran = lab.setup(&[]);
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("403") && ran.stderr.contains("--offline"), "{ran:?}");
    let entries: Vec<_> = fs::read_dir(lab.home.root().join("bin")).unwrap().collect();
    assert!(entries.is_empty(), "{entries:?}");
    // What was a list of releases.
    fs::write(lab.home.path("releases.toml"), "[[file]]\npart = 'bios'\n").unwrap();
    lab.setup(&[]).fails_with(4, &["lists no releases", "bios"]);
}

#[test]
fn files_that_were_fetched_by_other_means_are_taken() {
    let lab = Lab::new();
    let brings_firmware = !has_firmware(&lab);
    let usb = lab.home.path("usb");
    fs::create_dir(&usb).unwrap();
    let offline = ["--offline", "usb"];
    lab.setup(&offline)
        .fails_with(3, &["no cloud-hypervisor-static in usb", "hint: fetch http://"]);
    fs::write(usb.join("cloud-hypervisor-static"), PROGRAM).unwrap();
    fs::write(usb.join("fw"), firmware()).unwrap();
    let done = lab.setup(&offline);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(lab.server.take_requests(), []);
    assert_eq!(fs::read(lab.program()).unwrap(), PROGRAM.as_bytes());
    assert_eq!(lab.firmware().exists(), brings_firmware);
    // A part of an earlier release is replaced.
    fs::write(lab.program(), PROGRAM.replace("99.0", "98.0")).unwrap();
    let done = lab.setup(&offline);
    assert!(done.stdout.contains("installed cloud-hypervisor v99.0"), "{done:?}");
    assert_eq!(fs::read(lab.program()).unwrap(), PROGRAM.as_bytes());
    // What someone changed on the way is not.
    fs::remove_file(lab.program()).unwrap();
    fs::write(usb.join("cloud-hypervisor-static"), PROGRAM.replace("true", "evil")).unwrap();
    let refused = lab.setup(&offline);
    assert!(refused.code == 1 && !lab.program().exists(), "{refused:?}");
}

/// How long the files are that lie anywhere below a directory.
fn lengths_below(directory: &Path) -> Vec<u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let found = entries.flat_map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => lengths_below(&entry.path()),
        Ok(metadata) => vec![metadata.len()],
        Err(_) => Vec::new(),
    });
    found.collect()
}

#[test]
fn a_setup_that_was_killed_continues_where_it_was() {
    let lab = Lab::new();
    let bytes = [PROGRAM.as_bytes(), &[b'#'; 2 << 20]].concat();
    lab.pin(&sha256(&bytes), &sha256(&firmware()));
    let served = || WebFile::new(&bytes[..]).etag("\"1\"");
    lab.server.put("/ch/cloud-hypervisor-static", served().stall_after(1 << 20));
    let mut child = lab.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    lab.server.wait_for_stall();
    // What the server has sent has to have been kept, too.
    let kept =
        || lengths_below(&lab.home.root().join("bin")).into_iter().any(|length| length > 1 << 19);
    while !kept() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Another one is refused meanwhile.
    let ran = lab.setup(&[]);
    assert!(ran.code == 6 && ran.stderr.contains("is locked by "), "{ran:?}");
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert!(!lab.program().exists());
    lab.server.take_requests();
    lab.server.put("/ch/cloud-hypervisor-static", served());
    let done = lab.setup(&[]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(fs::read(lab.program()).unwrap() == bytes);
    let asked = lab.server.take_requests();
    let of_it = asked.iter().find(|request| request.path.starts_with("/ch/")).unwrap();
    assert!(of_it.range.is_some(), "{asked:?}");
    let names: Vec<_> = fs::read_dir(lab.home.root().join("bin")).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test_on(Root)]
fn root_only_what_root_alone_can_write_is_run() {
    let lab = Lab::new();
    assert_eq!(lab.setup(&[]).code, 0);
    for (path, ours, theirs) in
        [(lab.program(), 0o755, 0o777), (lab.home.root().join("bin"), 0o755, 0o777)]
    {
        fs::set_permissions(&path, fs::Permissions::from_mode(theirs)).unwrap();
        for arguments in [&["node", "check"][..], &["node", "setup", "--releases", "releases.toml"]]
        {
            let ran = ran(&mut lab.home.command(arguments));
            let text = ran.stdout.clone() + &ran.stderr;
            assert!(text.contains(&format!("{} is not trusted", path.display())), "{ran:?}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(ours)).unwrap();
    }
    assert!(lab.home.run("node check").stdout.contains("99.0"));
}

#[test_on(Root)]
fn root_a_user_who_may_not_write_there_is_told() {
    let lab = Lab::new();
    for path in [lab.home.path(""), lab.home.config(), lab.home.path("releases.toml")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_v"), lab.home.path("v")).unwrap();
    fs::create_dir(lab.home.root()).unwrap();
    let as_nobody = |more: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(lab.home.path("v")).args(["node", "setup", "--releases", "releases.toml"]);
        command.args(more).env("VIRSHLE_CONFIG", lab.home.config());
        command.env("VIRSHLE_ROOT", lab.home.root()).env("HOME", lab.home.path(""));
        ran(command.current_dir(lab.home.path("")).stdin(Stdio::null()))
    };
    as_nobody(&[]).fails_with(5, &["Permission denied", "hint: run as the user who owns the node"]);
    as_nobody(&["--system"]).fails_with(5, &["Permission denied", "hint: run it as root"]);
    assert_eq!(fs::read_dir(lab.home.root()).unwrap().count(), 0);
}

#[test_on(Root)]
fn root_all_users_of_the_host_get_it_in_usr_local() {
    let lab = Lab::new();
    // A /usr/local of the test's own; what is found there is found also if PATH does not have it.
    let script = "mount -t tmpfs tmpfs /usr/local && \"$0\" node setup --system --releases releases.toml && \
                  ls -l /usr/local/bin/cloud-hypervisor && \"$0\" node check";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command.arg(env!("CARGO_BIN_EXE_v")).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command.env("VIRSHLE_CONFIG", lab.home.config()).env("VIRSHLE_ROOT", lab.home.root());
    command.env("VIRSHLE_SYSTEMD", "off").current_dir(lab.home.path("")).stdin(Stdio::null());
    let ran = ran(&mut command);
    assert!(ran.stdout.contains("-rwxr-xr-x"), "{ran:?}");
    assert!(ran.stdout.contains("/usr/local/bin/cloud-hypervisor 99.0"), "{ran:?}");
    assert!(!lab.home.root().join("bin").exists());
}
