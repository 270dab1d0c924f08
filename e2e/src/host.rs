//! The nested host, and ways into it and into its guests.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, process};

use serde::de::DeserializeOwned;

use crate::failure::{Failure, While, ensure};
use crate::machine::Machine;
use crate::program::{Outcome, run, run_ok};
use crate::qemu::{Board, Qemu};
use crate::serial::Serial;

/// How long one command of `v` may take when its scenario says nothing else. Emulation is slow, and
/// other work on the machine makes it slower.
pub(crate) const COMMAND: Duration = Duration::from_secs(180);

/// How often the nested host is tried to be entered.
const CONNECTS: usize = 5;

static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

/// A nested host that runs. Dropping it cuts its power.
#[derive(Debug)]
pub(crate) struct Host {
    qemu: Qemu,
    /// For the sockets of ssh, whose paths have to be short.
    directory: SocketDirectory,
    key: PathBuf,
}

impl Host {
    /// Starts a host and waits for its sshd.
    pub(crate) fn start(board: &Board, keys: &Path) -> Result<Self, Failure> {
        let host = Self::power_on(board, keys)?;
        host.connect()?;
        Ok(host)
    }

    /// Starts a host and doesn't wait.
    pub(crate) fn power_on(board: &Board, keys: &Path) -> Result<Self, Failure> {
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let path = sockets().join(number.to_string());
        fs::create_dir_all(&path).doing(|| format!("cannot make {}", path.display()))?;
        let directory = SocketDirectory(path);
        let qemu = Qemu::start(board)?;
        Ok(Self { qemu, directory, key: keys.join("id_ed25519") })
    }

    /// Waits until a host that was powered on has booted.
    pub(crate) fn wait_for_boot(&self, deadline: Duration) -> Result<(), Failure> {
        self.qemu.serial.wait_for("host: READY", 1, deadline)?;
        self.connect()
    }

    /// Opens the one connection that all commands share. It leads through QEMU's emulated network,
    /// which may lose its first packets; that is not what is tested here.
    fn connect(&self) -> Result<(), Failure> {
        let log = self.directory.0.join("ssh.log").display().to_string();
        for _ in 0..CONNECTS {
            // Its connection stays behind in the background, and must not hold our pipes.
            let arguments = ["-f", "-N", "-M", "-o", "ControlPersist=yes", "-E", &log];
            let arguments = arguments.iter().map(ToString::to_string).chain(self.ssh_arguments());
            if run("ssh", arguments, COMMAND)?.code == 0 {
                return Ok(());
            }
        }
        let log = fs::read_to_string(&log).unwrap_or_default();
        Err(Failure::new(format!("cannot enter the nested host, {CONNECTS} times: {log}")))
    }

    fn ssh_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["-i".to_owned(), self.key.display().to_string()];
        arguments.extend(["-p".to_owned(), self.qemu.ssh_port.to_string()]);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "LogLevel=ERROR",
            "ConnectTimeout=40",
        ] {
            arguments.extend(["-o".to_owned(), option.to_owned()]);
        }
        arguments.extend(["-F".to_owned(), "/dev/null".to_owned()]);
        arguments.extend(["-S".to_owned(), self.directory.0.join("ssh").display().to_string()]);
        arguments.push("root@127.0.0.1".to_owned());
        arguments
    }

    /// Runs a shell script on the host.
    pub(crate) fn sh(&self, script: &str, deadline: Duration) -> Result<Outcome, Failure> {
        let arguments = self.ssh_arguments().into_iter().chain([script.to_owned()]);
        run("ssh", arguments, deadline).doing(|| format!("on the nested host: {script}"))
    }

    /// Runs a shell script that has to succeed, and hands back what it printed.
    pub(crate) fn ok(&self, script: &str, deadline: Duration) -> Result<String, Failure> {
        let Outcome { code, stdout, stderr } = self.sh(script, deadline)?;
        ensure!(code == 0, "on the nested host: {script}\nended with {code}\n{stdout}{stderr}");
        Ok(stdout)
    }

    /// Starts a shell script and keeps what it says, for as long as the host has power.
    pub(crate) fn listen(&self, script: &str) -> Result<Background, Failure> {
        let mut child = Command::new("ssh")
            .args(self.ssh_arguments())
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .doing(|| "cannot run ssh".to_owned())?;
        let output = child.stdout.take().ok_or_else(|| Failure::new("ssh has no output"))?;
        let output = Serial::follow(output, &self.directory.0.join("background.log"))?;
        Ok(Background { child, output })
    }

    /// Copies a folder of this machine onto the host.
    pub(crate) fn copy(&self, folder: &Path, to: &str) -> Result<(), Failure> {
        let failed = || format!("cannot copy {} onto the nested host", folder.display());
        let mut pack = Command::new("tar")
            .arg("-C")
            .arg(folder)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .doing(failed)?;
        let packed = pack.stdout.take().ok_or_else(|| Failure::new("tar has no output"))?;
        let unpacked = Command::new("timeout")
            .arg(COMMAND.as_secs().to_string())
            .arg("ssh")
            .args(self.ssh_arguments())
            .arg(format!("mkdir -p {to} && tar -C {to} -x"))
            .stdin(packed)
            .status()
            .doing(failed)?;
        let packed = pack.wait().doing(failed)?;
        ensure!(packed.success() && unpacked.success(), "{}: {packed}, {unpacked}", failed());
        Ok(())
    }

    /// A shell on the host for a person.
    pub(crate) fn interactive(&self) -> Result<(), Failure> {
        Command::new("ssh")
            .arg("-t")
            .args(self.ssh_arguments())
            .status()
            .doing(|| "cannot run ssh".to_owned())
            .map(drop)
    }

    /// Writes the configuration file of `v`.
    pub(crate) fn configure(&self, toml: &str) -> Result<(), Failure> {
        // The kernel of the nested host has no landlock that would do.
        let confine = match toml.contains("[hypervisor]") {
            true => "",
            false => "\n[hypervisor]\nconfine = \"best-effort\"\n",
        };
        let script = format!("cat >/etc/virshle/config.toml <<'END'\n{toml}{confine}\nEND");
        self.ok(&script, COMMAND).map(drop)
    }

    /// Runs `v` with arguments as a person types them; it has to succeed.
    pub(crate) fn v(&self, arguments: &str) -> Result<String, Failure> {
        self.ok(&format!("v {arguments}"), COMMAND)
    }

    /// Runs `v … --json` and reads its document.
    pub(crate) fn v_json<T: DeserializeOwned>(&self, arguments: &str) -> Result<T, Failure> {
        let text = self.v(&format!("{arguments} --json"))?;
        serde_json::from_str(&text).doing(|| format!("v {arguments} --json printed {text}"))
    }

    /// One machine as `v` sees it.
    pub(crate) fn machine(&self, name: &str) -> Result<Machine, Failure> {
        let machine = || self.v_json(&format!("vm info {name}"));
        answered(machine, |machine: &Machine| machine.state != SILENT)
    }

    /// All machines as `v` sees them.
    pub(crate) fn machines(&self) -> Result<Vec<Machine>, Failure> {
        let all = |machines: &Vec<Machine>| machines.iter().all(|machine| machine.state != SILENT);
        answered(|| self.v_json("vm ls"), all)
    }

    /// Waits until a line of the machine's serial log matches.
    pub(crate) fn wait_for_serial(
        &self,
        machine: &Machine,
        pattern: &str,
        deadline: Duration,
    ) -> Result<(), Failure> {
        let script =
            format!("e2e-await {}/serial.log '{pattern}' {}", machine.dir, deadline.as_secs());
        self.ok(&script, deadline + COMMAND).map(drop)
    }

    /// The address that the host's DHCP server gave to the machine's first network.
    pub(crate) fn address(&self, machine: &Machine) -> Result<String, Failure> {
        let mac = machine.mac()?;
        let script = format!(
            "e2e-await /run/e2e-leases '{mac}' 60 && awk '$2 == \"{mac}\" {{ print $3 }}' /run/e2e-leases"
        );
        Ok(self.ok(&script, COMMAND)?.trim().to_owned())
    }

    /// Runs a command in a guest, by ssh to an address.
    pub(crate) fn in_guest_at(&self, address: &str, command: &str) -> Result<String, Failure> {
        self.ok(&format!("ssh root@{address} {}", quoted(command)), COMMAND)
    }

    /// Runs a command in a guest by ssh over vsock; no network is involved.
    pub(crate) fn in_guest(&self, machine: &Machine, command: &str) -> Result<Outcome, Failure> {
        let proxy = format!("ProxyCommand=e2e-vsock {} 22", machine.vsock()?);
        let script = format!("ssh -o {} root@e2e-vsock {}", quoted(&proxy), quoted(command));
        self.sh(&script, COMMAND)
    }

    /// Runs a command in a guest over vsock; it has to succeed.
    pub(crate) fn in_guest_ok(&self, machine: &Machine, command: &str) -> Result<String, Failure> {
        let Outcome { code, stdout, stderr } = self.in_guest(machine, command)?;
        ensure!(code == 0, "in {}: {command}\nended with {code}\n{stdout}{stderr}", machine.name);
        Ok(stdout)
    }

    /// Saves the host's state and ends it.
    pub(crate) fn save(self, state: &Path) -> Result<(), Failure> {
        // Its connection is none that a restored host could go on with.
        let leave = ["-O", "exit"].map(ToString::to_string);
        let arguments = leave.into_iter().chain(self.ssh_arguments());
        run_ok("ssh", arguments, COMMAND)?;
        self.qemu.save(state)
    }

    /// Waits until the host has gone down by itself.
    pub(crate) fn wait_for_end(self, deadline: Duration) -> Result<(), Failure> {
        self.qemu.wait_for_end(deadline)
    }

    /// Cuts the power.
    pub(crate) fn cut(self) {
        drop(self.qemu);
    }
}

/// A directory that goes when the host goes.
#[derive(Debug)]
struct SocketDirectory(PathBuf);

impl Drop for SocketDirectory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0)); // In the system's temporary directory; no harm if it stays.
    }
}

/// Where this process has its sockets.
fn sockets() -> PathBuf {
    env::temp_dir().join(format!("virshle-e2e-{}", process::id()))
}

/// Removes the sockets of hosts that were left behind, too.
pub(crate) fn remove_sockets() {
    drop(fs::remove_dir_all(sockets())); // Not there when no host was started.
}

/// A script that runs on the host until its power is cut.
#[derive(Debug)]
pub(crate) struct Background {
    child: Child,
    output: Serial,
}

impl Background {
    /// Waits until it has printed `text`, that often.
    pub(crate) fn wait_for(&self, text: &str, times: usize) -> Result<(), Failure> {
        self.output.wait_for(text, times, COMMAND)
    }

    /// Every whole line it printed before the power was cut.
    pub(crate) fn lines(mut self) -> Result<String, Failure> {
        drop(self.child.kill()); // The connection went with the host; it may not have noticed.
        drop(self.child.wait());
        self.output.whole_lines(COMMAND)
    }
}

/// A text quoted for a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
/// The state of a machine whose VMM has been silent for a second: emulated, on a busy machine, that says nothing.
const SILENT: &str = "unresponsive";
/// How often is looked again, a second apart, at machines whose VMM is silent.
const LOOKS: u32 = 60;

/// Looks until what is seen has an answer, or for a minute.
fn answered<T>(
    look: impl Fn() -> Result<T, Failure>,
    has_answer: impl Fn(&T) -> bool,
) -> Result<T, Failure> {
    for _ in 0..LOOKS {
        let seen = look()?;
        if has_answer(&seen) {
            return Ok(seen);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    look()
}
