//! A private Open vSwitch: its own database, its own daemons, the userspace datapath.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock, inotify};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::hugepages::{Hugepages, hugepages};

const PLAIN: [&str; 2] = ["/usr/lib/openvswitch-switch/ovs-vswitchd", "ovs-vswitchd"];
const DPDK: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Only what has gone wrong takes that long, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(120);
/// What DPDK needs for itself, in pages of 2 MiB.
const PAGES: u64 = 512;

/// A running Open vSwitch of one test: `ovsdb-server` and `ovs-vswitchd` in a temporary directory.
///
/// Its bridges make kernel devices, so enter a [`NetNamespace`](crate::NetNamespace) first. The
/// daemons are ended when this is dropped, and by the kernel when the *thread* that started them
/// ends: make it in the test's own thread.
///
/// Every method panics with the end of the daemons' logs when something does not work.
#[derive(Debug)]
pub struct OpenVswitch {
    vswitchd: Daemon,
    ovsdb: Daemon,
    dpdk: Option<Dpdk>,
    directory: TempDir,
}

/// What only one test at a time may have.
#[derive(Debug)]
struct Dpdk {
    _pages: Hugepages,
    _turn: File,
}

impl OpenVswitch {
    /// Starts one without DPDK: taps and internal ports on the userspace datapath.
    ///
    /// # Panics
    ///
    /// When a daemon does not come up.
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// Starts one with DPDK, for vhost-user ports; reserves hugepages.
    ///
    /// Only one exists at a time on a host; a second caller waits, for DPDK takes whole cores and
    /// all the hugepages it finds.
    ///
    /// # Panics
    ///
    /// When a daemon does not come up, or the hugepages are not to be had.
    pub fn with_dpdk() -> Self {
        // The program itself is locked: any other file would have an owner, or stay behind.
        let turn = File::open(DPDK).unwrap_or_else(|error| panic!("cannot open {DPDK}: {error}"));
        flock(&turn, FlockOperation::LockExclusive)
            .unwrap_or_else(|error| panic!("cannot lock out other DPDK tests: {error}"));
        let pages = hugepages(PAGES).unwrap_or_else(|error| panic!("no hugepages: {error}"));
        Self::start_as(Some(Dpdk { _pages: pages, _turn: turn }))
    }

    fn start_as(dpdk: Option<Dpdk>) -> Self {
        let directory = TempDir::with_prefix("ovs-")
            .unwrap_or_else(|error| panic!("cannot create a temporary directory: {error}"));
        let mut ovs = Self {
            vswitchd: Daemon { name: "ovs-vswitchd", child: None },
            ovsdb: Daemon { name: "ovsdb-server", child: None },
            dpdk,
            directory,
        };
        ovs.begin();
        ovs
    }

    /// Creates the database, and starts the daemons.
    fn begin(&mut self) {
        let database = self.directory.path().join("conf.db");
        run(Command::new("ovsdb-tool").arg("create").arg(database).arg(SCHEMA));
        self.start_ovsdb();
        self.vsctl(&["--no-wait", "init"]);
        // What Open vSwitch's start-up script does.
        let version = run(Command::new(self.program()).arg("--version"));
        let version = version.split_whitespace().last().unwrap_or("unknown");
        let version = format!("ovs_version={version}");
        self.vsctl(&["--no-wait", "set", "Open_vSwitch", ".", &version]);
        if self.dpdk.is_some() {
            // pmd-maxsleep (3.1) and pmd-sleep-max (later) let an idle poll-mode thread sleep.
            let settings = [
                "other_config:dpdk-init=true",
                "other_config:pmd-maxsleep=500",
                "other_config:pmd-sleep-max=500",
            ];
            let args = [&["--no-wait", "set", "Open_vSwitch", "."][..], &settings].concat();
            self.vsctl(&args);
        }
        self.start_vswitchd();
    }

    /// The directory of its database, sockets and logs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The database's unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("db.sock")
    }

    /// The database's address, `unix:…/db.sock`.
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// Runs `ovs-vsctl` with `args` as its arguments on this database, and returns what it
    /// printed.
    ///
    /// # Panics
    ///
    /// When it fails, or takes longer than two minutes.
    pub fn vsctl(&self, args: &[&str]) -> String {
        run(Command::new("ovs-vsctl")
            .arg(format!("--db={}", self.address()))
            .arg(format!("--timeout={}", PATIENCE.as_secs()))
            .args(args))
    }

    /// Runs `ovs-appctl` with `args` as its arguments on this `ovs-vswitchd`, and returns what it
    /// printed.
    ///
    /// # Panics
    ///
    /// When it fails, or takes longer than two minutes.
    pub fn appctl(&self, args: &[&str]) -> String {
        run(Command::new("ovs-appctl")
            .arg("-t")
            .arg(self.directory.path().join("ovs-vswitchd.ctl"))
            .arg(format!("--timeout={}", PATIENCE.as_secs()))
            .args(args))
    }

    /// The process id of `ovs-vswitchd`, while it runs.
    pub fn vswitchd_pid(&self) -> Option<u32> {
        self.vswitchd.child.as_ref().map(Child::id)
    }

    /// The process id of `ovsdb-server`, while it runs.
    pub fn ovsdb_pid(&self) -> Option<u32> {
        self.ovsdb.child.as_ref().map(Child::id)
    }

    /// Starts `ovs-vswitchd` and waits until it has taken up the database's configuration.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn start_vswitchd(&mut self) {
        assert!(self.vswitchd.child.is_none(), "ovs-vswitchd runs already");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(self.program()).arg(self.address());
        command.env("OVS_RUNDIR", self.directory.path());
        self.vswitchd.start(command, self.directory.path());
        self.vsctl(&["set", "Open_vSwitch", ".", "external_ids:testkit=up"]);
    }

    /// Starts `ovsdb-server` and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub fn start_ovsdb(&mut self) {
        assert!(self.ovsdb.child.is_none(), "ovsdb-server runs already");
        let socket = self.socket();
        drop(fs::remove_file(&socket)); // absent at the first start
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .and_then(|watch| {
                inotify::add_watch(&watch, self.directory.path(), inotify::WatchFlags::CREATE)?;
                Ok(watch)
            })
            .unwrap_or_else(|error| panic!("cannot watch the directory: {error}"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "ovsdb-server"]);
        command.arg(self.directory.path().join("conf.db"));
        command.arg(format!("--remote=punix:{}", socket.display()));
        self.ovsdb.start(command, self.directory.path());

        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "{}", self.ovsdb.log_tail(self.directory.path()));
            let mut events = [PollFd::new(&watch, PollFlags::IN)];
            // Between bind and listen there is no event: hence the short wait.
            let wait = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            poll(&mut events, Some(&wait)).ok();
            let mut room = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
            drop(inotify::Reader::new(&watch, &mut room).next());
        }
    }

    /// Ends `ovs-vswitchd` with SIGKILL; its rows stay in the database.
    pub fn kill_vswitchd(&mut self) {
        self.vswitchd.kill();
    }

    /// Ends `ovsdb-server` with SIGKILL.
    pub fn kill_ovsdb(&mut self) {
        self.ovsdb.kill();
    }

    /// Stops `ovs-vswitchd` in its tracks (SIGSTOP): alive, and silent.
    pub fn freeze_vswitchd(&self) {
        self.vswitchd.signal(Signal::STOP);
    }

    /// Resumes a frozen `ovs-vswitchd`.
    pub fn thaw_vswitchd(&self) {
        self.vswitchd.signal(Signal::CONT);
    }

    /// Freezes `ovsdb-server` (SIGSTOP): connections are accepted by the kernel, and no answer
    /// comes.
    pub fn freeze_ovsdb(&self) {
        self.ovsdb.signal(Signal::STOP);
    }

    /// Resumes a frozen `ovsdb-server`.
    pub fn thaw_ovsdb(&self) {
        self.ovsdb.signal(Signal::CONT);
    }

    /// Kills and starts `ovs-vswitchd`.
    ///
    /// # Panics
    ///
    /// When it does not come up again.
    pub fn restart_vswitchd(&mut self) {
        self.kill_vswitchd();
        self.start_vswitchd();
    }

    /// Kills and starts `ovsdb-server`; the database file is kept.
    ///
    /// # Panics
    ///
    /// When it does not come up again.
    pub fn restart_ovsdb(&mut self) {
        self.kill_ovsdb();
        self.start_ovsdb();
    }

    /// Ends both daemons and starts them on a new database: nothing of the old one is left.
    ///
    /// # Panics
    ///
    /// When they do not come up again.
    pub fn lose_database(&mut self) {
        self.kill_vswitchd();
        self.kill_ovsdb();
        for name in ["conf.db", ".conf.db.~lock~"] {
            drop(fs::remove_file(self.directory.path().join(name))); // the lock may not be there
        }
        self.begin();
    }

    /// What `ovs-vswitchd` has logged.
    pub fn vswitchd_log(&self) -> String {
        fs::read_to_string(self.directory.path().join("ovs-vswitchd.log")).unwrap_or_default()
    }

    fn program(&self) -> PathBuf {
        if self.dpdk.is_some() {
            return DPDK.into();
        }
        PLAIN.iter().map(PathBuf::from).find(|path| path.exists()).unwrap_or(PLAIN[1].into())
    }
}

/// A child in the foreground that the kernel ends with the thread that started it.
#[derive(Debug)]
struct Daemon {
    name: &'static str,
    child: Option<Child>,
}

impl Daemon {
    fn start(&mut self, mut command: Command, directory: &Path) {
        let log = directory.join(format!("{}.log", self.name));
        command
            .arg(format!("--unixctl={}", directory.join(format!("{}.ctl", self.name)).display()))
            .arg(format!("--log-file={}", log.display()))
            .args(["-vconsole:off", "-vsyslog:off"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn();
        self.child =
            Some(child.unwrap_or_else(|error| panic!("cannot start {}: {error}", self.name)));
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        if let Err(error) = kill_process(Pid::from_child(child), signal) {
            panic!("cannot signal {}: {error}", self.name);
        }
    }

    fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Both fail only when it has ended already.
        drop(child.kill());
        drop(child.wait());
    }

    fn log_tail(&self, directory: &Path) -> String {
        let log = fs::read_to_string(directory.join(format!("{}.log", self.name)));
        format!("{} did not come up: {}", self.name, log.unwrap_or_default())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
