//! One QEMU process: the machine that the nested host is.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::acceleration::Acceleration;
use crate::failure::{Failure, While, ensure};
use crate::qmp::Qmp;
use crate::serial::Serial;

/// The nested host's memory. Three guests, or one with Open vSwitch's hugepages, leave some of it.
const MEMORY: &str = "4G";
/// QMP answers at once; only saving and restoring take a moment.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a process may take to end after it has closed its socket.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Where the machine's memory comes from.
#[derive(Clone, Debug)]
pub(crate) enum Memory {
    /// Empty, gone with the process.
    Fresh,
    /// Empty, in a file, for [`Qemu::save`].
    Kept(PathBuf),
    /// A private view of a saved file, and the devices' state that belongs to it.
    Restored { memory: PathBuf, state: PathBuf },
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    /// The program.
    pub(crate) qemu: PathBuf,
    pub(crate) acceleration: Acceleration,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// Writable, qcow2.
    pub(crate) disks: Vec<PathBuf>,
    /// Read-only, raw.
    pub(crate) payload: PathBuf,
    pub(crate) memory: Memory,
    /// For the control socket and the copy of the serial line.
    pub(crate) directory: PathBuf,
}

/// A running machine. Dropping it is a power cut.
#[derive(Debug)]
pub(crate) struct Qemu {
    child: Child,
    /// Its standard error.
    errors: PathBuf,
    qmp: Qmp,
    pub(crate) serial: Serial,
    /// Of this machine's loopback, leads to the nested host's sshd.
    pub(crate) ssh_port: u16,
}

impl Qemu {
    /// Starts the machine; it runs when this returns.
    pub(crate) fn start(board: &Board) -> Result<Self, Failure> {
        let ssh_port = free_port()?;
        let control = board.directory.join("qmp");
        drop(fs::remove_file(&control)); // Of the machine before, or not there.
        // setpriv: whatever ends this harness ends the machine, too.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&board.qemu);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"]);
        command.args(["-smp", "1", "-m", MEMORY, "-no-reboot", "-S"]);
        command.args(board.acceleration.arguments());
        match &board.memory {
            Memory::Fresh => command.args(["-machine", "q35"]),
            Memory::Kept(file) => command.args(memory_in(file, "on")),
            Memory::Restored { memory, .. } => {
                command.args(memory_in(memory, "off")).args(["-incoming", "defer"])
            }
        };
        command.arg("-kernel").arg(&board.kernel).arg("-initrd").arg(&board.initramfs);
        command.args(["-append", "console=ttyS0 mitigations=off quiet panic=-1 net.ifnames=0"]);
        for (index, disk) in board.disks.iter().enumerate() {
            // What the guest has flushed is in the file, so that killing QEMU loses what a power
            // cut loses, and nothing else.
            let drive =
                format!("file={},format=qcow2,if=none,id=d{index},cache=writeback", disk.display());
            command.args(["-drive", &drive]);
            command.args(["-device", &format!("virtio-blk-pci,drive=d{index}")]);
        }
        let drive =
            format!("file={},format=raw,if=none,id=payload,readonly=on", board.payload.display());
        command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=payload"]);
        let net = format!("user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:{ssh_port}-:22");
        command.args(["-netdev", &net, "-device", "virtio-net-pci,netdev=n0"]);
        command.args(["-device", "virtio-rng-pci"]);
        command.args(["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", control.display())]);
        let errors = board.directory.join("qemu.log");
        let stderr =
            fs::File::create(&errors).doing(|| format!("cannot make {}", errors.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .doing(|| format!("cannot run {} by setpriv", board.qemu.display()))?;
        let started = (|| {
            let output = child.stdout.take().ok_or_else(|| Failure::new("QEMU has no output"))?;
            let serial = Serial::follow(output, &board.directory.join("host-serial.log"))?;
            let qmp = Qmp::connect(&control, &mut child, ANSWER).doing(|| {
                format!("QEMU did not start: {}", fs::read_to_string(&errors).unwrap_or_default())
            })?;
            Ok((serial, qmp))
        })();
        let (serial, qmp) = match started {
            Ok(started) => started,
            Err(failure) => {
                end(&mut child);
                return Err(failure);
            }
        };
        let mut machine = Self { child, errors, qmp, serial, ssh_port };
        let running = machine.run(&board.memory);
        running.map_err(|failure| machine.with_its_end(&failure))?;
        Ok(machine)
    }

    /// Lets the machine go on from what is in its memory.
    fn run(&mut self, memory: &Memory) -> Result<(), Failure> {
        if let Memory::Restored { state, .. } = memory {
            self.skip_shared_memory()?;
            let source = format!("exec:cat {}", state.display());
            self.qmp.ask("migrate-incoming", &json!({"uri": source}), ANSWER)?;
            self.qmp.wait_for_migration(ANSWER)?;
        }
        self.qmp.ask("cont", &json!({}), ANSWER).map(drop)
    }

    /// Waits until the machine has powered itself off.
    pub(crate) fn wait_for_end(mut self, deadline: Duration) -> Result<(), Failure> {
        let end = Instant::now() + deadline;
        loop {
            match self.child.try_wait().doing(|| "cannot wait for QEMU".to_owned())? {
                Some(_) => return Ok(()),
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
                None => {
                    let seconds = deadline.as_secs();
                    return Err(Failure::new(format!("the host is not off after {seconds} s")));
                }
            }
        }
    }

    /// Stops the machine for good and writes its devices' state; its memory is in its file already.
    pub(crate) fn save(mut self, state: &Path) -> Result<(), Failure> {
        let saved = self.write_state(state);
        saved.map_err(|failure| self.with_its_end(&failure))?;
        let status = self.child.wait().doing(|| "cannot wait for QEMU".to_owned())?;
        ensure!(status.success(), "QEMU ended with {status}: {}", self.last_lines());
        Ok(())
    }

    fn write_state(&mut self, state: &Path) -> Result<(), Failure> {
        self.qmp.ask("stop", &json!({}), ANSWER)?;
        self.skip_shared_memory()?;
        let target = format!("exec:cat > {}", state.display());
        self.qmp.ask("migrate", &json!({"uri": target}), ANSWER)?;
        self.qmp.wait_for_migration(ANSWER)?;
        // By its own command, so that every block it holds is in the disks' files.
        self.qmp.ask("quit", &json!({}), ANSWER).map(drop)
    }

    /// A failure to talk to QEMU, with how it ended: a broken socket alone doesn't say why.
    fn with_its_end(&mut self, failure: &Failure) -> Failure {
        let end = Instant::now() + LAST_BREATH;
        // The socket is closed a moment before the process has ended.
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break format!("QEMU ended with {status}"),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
                Ok(None) => break "QEMU runs on".to_owned(),
                Err(error) => break format!("cannot ask for QEMU's status: {error}"),
            }
        };
        Failure::new(format!("{failure}; {status}; its last log lines: {}", self.last_lines()))
    }

    /// The end of QEMU's standard error, in one line.
    fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(10)..].join(" | ");
        if last.is_empty() { "none".to_owned() } else { last }
    }

    /// Memory that is a shared file stays where it is: nothing of it is in the state.
    fn skip_shared_memory(&mut self) -> Result<(), Failure> {
        let capability = json!([{"capability": "x-ignore-shared", "state": true}]);
        let arguments = json!({"capabilities": capability});
        self.qmp.ask("migrate-set-capabilities", &arguments, ANSWER).map(drop)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a process that was started here.
fn end(child: &mut Child) {
    drop(child.kill()); // It may have ended by itself.
    drop(child.wait());
}

/// The arguments for memory in a file.
fn memory_in(file: &Path, share: &str) -> [String; 4] {
    [
        "-object".to_owned(),
        format!(
            "memory-backend-file,id=ram,mem-path={},size={MEMORY},share={share}",
            file.display()
        ),
        "-machine".to_owned(),
        "q35,memory-backend=ram".to_owned(),
    ]
}

/// A port of the loopback that is free right now.
fn free_port() -> Result<u16, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .doing(|| "cannot get a port of the loopback".to_owned())?;
    Ok(listener.local_addr().doing(|| "cannot name a port".to_owned())?.port())
}
