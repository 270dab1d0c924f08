//! The console in a terminal of its own, at a real cloud-hypervisor.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use virshle_testkit::TestKernel;
use virshle_testkit_macros::test_on;

use crate::home::Home;

/// Only what has gone wrong takes that long, however busy the host is.
const PATIENCE: Duration = Duration::from_secs(120);

/// A home with the machine `web` of a kernel; it does not outlive the test.
struct Lab {
    home: Home,
}

impl Lab {
    fn new(kernel: &TestKernel) -> Self {
        let home = Home::new();
        let kernel = kernel.write(&home.path("")).unwrap();
        let program = std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into());
        home.write_config(&format!(
            "[hypervisor]\nprogram = {program:?}\n[[template.vm]]\nname = \"least\"\nvcpu = 1\n\
             vram = \"64MiB\"\nkernel = {:?}\n",
            kernel.display().to_string(),
        ));
        home.ok("vm create -t least --name web");
        Self { home }
    }

    fn serial_log(&self) -> PathBuf {
        PathBuf::from(self.home.json("vm info web")["dir"].as_str().unwrap()).join("serial.log")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.home.run("vm rm --force --all"));
    }
}

/// A terminal, and `v` in it.
struct Terminal {
    upper: File,
    lower: OwnedFd,
    child: Child,
    /// The output since the last call.
    screen: String,
}

impl Terminal {
    fn run(home: &Home, arguments: &str) -> Self {
        let upper = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        unlockpt(&upper).unwrap();
        let path = ptsname(&upper, Vec::new()).unwrap().into_string().unwrap();
        let lower: OwnedFd = OpenOptions::new().read(true).write(true).open(path).unwrap().into();
        let size = Winsize { ws_row: 31, ws_col: 97, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&lower, size).unwrap();
        let end = || Stdio::from(lower.try_clone().unwrap());
        let mut command = home.command(&arguments.split(' ').collect::<Vec<_>>());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { upper: upper.into(), lower, child, screen: String::new() }
    }

    /// Waits for `text` in the output, and returns the output up to it since the last call.
    #[track_caller]
    fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen.find(text) {
                let after = self.screen.split_off(at + text.len());
                return std::mem::replace(&mut self.screen, after);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::new(&self.upper, PollFlags::IN)];
            let ready = poll(&mut polled, Some(&Timespec::try_from(left).unwrap())).unwrap();
            assert!(ready > 0, "{text:?} not in {:?}", self.screen);
            let mut piece = [0; 4096];
            let length = self.upper.read(&mut piece).unwrap();
            self.screen.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    }

    fn types(&mut self, keys: &str) {
        self.upper.write_all(keys.as_bytes()).unwrap();
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(self.lower.as_fd()).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, after which the terminal is as it was.
    #[track_caller]
    fn ends(mut self) {
        assert!(self.child.wait().unwrap().success());
        assert!(!self.is_raw());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test_on(Ch, Kvm)]
fn ch_a_console_is_detached_killed_and_reattached_and_loses_nothing() {
    // It asks the terminal where its cursor is, as boot loaders and login prompts do.
    let lab = Lab::new(&TestKernel::echoes("\x1b[6nwelcome\r\nlogin: "));
    let mut terminal = Terminal::run(&lab.home, "vm start --attach web");
    terminal.shows("Ctrl-] detaches; this window: stty rows 31 cols 97");
    terminal.shows("login: ");
    assert!(terminal.is_raw());
    // Also what would be a signal is a key for the guest.
    terminal.types("first\x03");
    terminal.shows("first\x03");
    terminal.types("\x1d");
    terminal.shows("detached");
    terminal.ends();

    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT] {
        let mut terminal = Terminal::run(&lab.home, "vm console web");
        let shown = terminal.shows("login: first");
        assert!(shown.contains("welcome\r\n"), "{shown:?}");
        assert!(!shown.contains("\x1b[6n"), "an old question is not asked again: {shown:?}");
        terminal.signal(signal);
        terminal.ends();
    }

    // Two look at it, and both see what one of them types.
    let mut one = Terminal::run(&lab.home, "vm console web");
    let mut other = Terminal::run(&lab.home, "vm console web");
    one.shows("login: first");
    other.shows("login: first");
    one.types("second\x1b[6n");
    // A new question is.
    one.shows("second\x1b[6n");
    other.shows("second\x1b[6n");
    let pid = lab.home.json("vm info web")["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    for mut terminal in [one, other] {
        terminal.shows("the machine has stopped");
        terminal.ends();
    }
    assert!(lab.home.ok("vm logs web").ends_with("login: first\x03second\x1b[6n"));
}

#[test_on(Ch, Kvm)]
fn ch_a_guest_gets_at_no_clipboard_and_leaves_the_terminal_as_it_was() {
    let lab = Lab::new(&TestKernel::echoes("login: "));
    let mut terminal = Terminal::run(&lab.home, "vm start --attach web");
    terminal.shows("login: ");
    // What a guest writes: a full-screen program with a mouse; the clipboard; questions for the title.
    terminal.types(
        "\x1b[?1049h\x1b[?1003;1006h\x1b[?25l\x1b]52;c;cm0gLXJmIH4=\x07\x1b[21t\x1b[>c\x05ed",
    );
    let shown = terminal.shows("ed");
    assert!(shown.contains("\x1b[?1049h\x1b[?1003;1006h\x1b[?25l"), "{shown:?}");
    for removed in ["\x1b]52", "cm0g", "21t", "\x1b[>c", "\x05"] {
        assert!(!shown.contains(removed), "{removed:?} in {shown:?}");
    }
    // The clipboard in two pieces: the guest echoes what is typed.
    terminal.types("\x1b]5");
    terminal.types("2;c;AAAA\x07end");
    let shown = terminal.shows("end");
    assert!(!shown.contains("]52") && !shown.contains("AAAA"), "{shown:?}");
    // An answer of the terminal's that comes late is not the shell's.
    terminal.types("\x1d\x1b]lrm -rf ~\x1b\\\n");
    let shown = terminal.shows("detached");
    for put_back in ["\x1b[?1049l", "\x1b[!p", "1003", "\x1b[?25h", "\x1b[0m"] {
        assert!(shown.contains(put_back), "{put_back:?} not in {shown:?}");
    }
    assert!(terminal.child.wait().unwrap().success());
    assert!(!terminal.is_raw());
    let mut waiting = [PollFd::new(&terminal.lower, PollFlags::IN)];
    assert_eq!(
        poll(&mut waiting, Some(&Timespec::default())).unwrap(),
        0,
        "something is left to read"
    );
    // A program gets it as it is.
    assert!(lab.home.ok("vm logs web").contains("\x1b]52;c;cm0gLXJmIH4="));
}

/// Regression: what was written between the last read of a log and its cut was lost (9790f6a).
#[test_on(Ch, Kvm)]
fn ch_an_endless_log_is_cut_by_its_readers_who_continue_in_it() {
    let lab = Lab::new(&TestKernel::floods("0123456789\n"));
    lab.home.ok("vm start web");
    let log = lab.serial_log();
    // As long as it gets in a minute or an hour: cloud-hypervisor appends, and so does this.
    let mut file = OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(&vec![b'\n'; 17 << 20]).unwrap();
    let mut follower = lab.home.command(&["vm", "logs", "-f", "web"]);
    let mut follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    let size = || fs::metadata(&log).unwrap().len();
    for arguments in ["vm ls", "vm info web"] {
        file.write_all(&vec![b'\n'; 17 << 20]).unwrap();
        lab.home.ok(arguments);
        assert!(size() <= 16 << 20, "{arguments}: {}", size());
    }
    file.write_all(b"the last line\n").unwrap();
    // Following continues, and so does the guest.
    let mut shown = follower.stdout.take().unwrap();
    let (mut seen, mut piece) = (Vec::new(), vec![0; 1 << 20]);
    let has = |seen: &[u8], text: &[u8]| seen.windows(text.len()).any(|part| part == text);
    while !has(&seen, b"the last line\n") {
        let length = shown.read(&mut piece).unwrap();
        let kept = seen.len().saturating_sub(100);
        seen.drain(..kept);
        seen.extend_from_slice(&piece[..length]);
    }
    seen.clear();
    while !has(&seen, b"0123456789\n") {
        let length = shown.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..length]);
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

/// Regression: a guest filled the host's disk through its VMM's log, at 2 MB/s.
#[test_on(Ch, Kvm)]
fn ch_a_guest_that_has_its_vmm_log_without_end_gets_no_more_than_a_mebibyte() {
    let lab = Lab::new(&TestKernel::asks());
    lab.home.ok("vm start web");
    let log = lab.serial_log().with_file_name("ch.log");
    let deadline = Instant::now() + PATIENCE;
    let (mut longest, mut cuts, mut last) = (0, 0, 0);
    while cuts < 2 {
        assert!(Instant::now() < deadline, "{cuts} cuts of {longest}");
        let length = fs::metadata(&log).unwrap().len();
        cuts += u32::from(length < last);
        (last, longest) = (length, longest.max(length));
        std::thread::sleep(Duration::from_millis(1));
    }
    // What is read at once may be beyond it for as long as the cut takes.
    assert!(longest <= (1 << 20) + (16 << 10), "{longest}");
    let end = lab.home.ok("vm logs web --vmm --tail 3");
    assert!(end.contains("Invalid sized read of PM timer"), "{end}");
    // No look of a command has cut it, and the machine is none the worse.
    assert_eq!(lab.home.json("vm info web")["state"], "running");
    // What keeps the log ends with the machine.
    lab.home.ok("vm stop --force web");
    let kept = File::open(&log).unwrap();
    rustix::fs::flock(&kept, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(lab.home.json("vm info web")["last_exit"], "forced");
}
