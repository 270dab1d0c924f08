//! Running a program from one system call to the next, and killing it, or failing its call, at
//! the one that is asked for.
//!
//! Threads and children of the program are followed, and their calls counted in the order in
//! which they come, until one of them becomes another program: that one is let go. Nothing is
//! counted before the program's own runtime has set itself up (its first `sigaltstack`, which in
//! a Rust program follows the dynamic loader).
//!
//! Longer than other files: a fourth of it are its tests, which need the whole.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::call::{self, Call, Weight};
use crate::sys::{self, Stop, Syscall, Tid};

/// What is done to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing: its calls are listed.
    Watch,
    /// The whole process is killed when one of its threads or children is about to make the
    /// changing call of that number, from 1.
    KillBefore(usize),
    /// The same, when it has made it.
    KillAfter(usize),
    /// The call of that number fails with this error, among those that may fail.
    Fail(usize, i32),
}

/// When counting begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With the first `sigaltstack`.
    Runtime,
    /// With the first call; for programs without such a runtime.
    #[cfg(test)]
    Start,
}

/// How a program ended, and what it did until then.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Its exit code; none if it was killed.
    pub(crate) exit: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// It was killed because it took too long.
    pub(crate) late: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Its calls, with [`Plan::Watch`].
    pub(crate) calls: Vec<Call>,
    /// The call at which something was done.
    pub(crate) hit: Option<Call>,
    pub(crate) took: Duration,
}

/// Runs `command` as planned, and kills it after `limit`.
///
/// # Errors
///
/// If it can't be started or traced.
pub(crate) fn run(
    command: &mut Command,
    plan: Plan,
    begin: Begin,
    limit: Duration,
) -> io::Result<Trace> {
    let directory = tempfile::tempdir()?;
    let (out, err) = (directory.path().join("out"), directory.path().join("err"));
    command
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .process_group(0);
    sys::start_traced(command);
    let started = Instant::now();
    let mut trace = std::thread::scope(|scope| {
        // Only the thread that starts a program traces it, and waits for its own alone.
        std::thread::Builder::new()
            .name("stepper".into())
            .spawn_scoped(scope, || {
                let mut session = Session::new(plan, begin);
                session.follow(command, limit).map(|()| session.trace)
            })?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the stepper panicked")))
    })?;
    trace.took = started.elapsed();
    trace.stdout = read(&out);
    trace.stderr = read(&err);
    Ok(trace)
}

fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

struct Session {
    plan: Plan,
    begun: bool,
    changing: usize,
    fallible: usize,
    /// Threads that were seen, and what to do when the call at whose entry they stand is over.
    threads: HashMap<Tid, AtExit>,
    root: Tid,
    /// Sockets between threads and children of the program itself: no one else can break them,
    /// and the standard library panics if one of its own breaks.
    private: HashSet<String>,
    /// What was planned is done: nothing is counted any more.
    done: bool,
    trace: Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtExit {
    Nothing,
    Kill,
    Fail(i32),
    /// A pair of sockets was made: their numbers are there.
    Pair(u64),
}

impl Session {
    fn new(plan: Plan, begin: Begin) -> Self {
        Self {
            plan,
            begun: begin != Begin::Runtime,
            changing: 0,
            fallible: 0,
            threads: HashMap::new(),
            root: 0,
            private: HashSet::new(),
            done: false,
            trace: Trace {
                exit: None,
                signal: None,
                late: false,
                stdout: String::new(),
                stderr: String::new(),
                calls: Vec::new(),
                hit: None,
                took: Duration::ZERO,
            },
        }
    }

    fn follow(&mut self, command: &mut Command, limit: Duration) -> io::Result<()> {
        let child = command.spawn()?;
        self.root = Tid::try_from(child.id()).map_err(io::Error::other)?;
        match sys::wait_for(self.root)? {
            Some((_, Stop::Exec | Stop::Signal(_) | Stop::Child)) => {}
            other => return Err(io::Error::other(format!("did not start traced: {other:?}"))),
        }
        sys::follow(self.root)?;
        self.threads.insert(self.root, AtExit::Nothing);
        sys::to_next_call(self.root, 0)?;

        // The watchdog kills by the group's number: the leader is not reaped before the end.
        let root = self.root;
        let (over, watched) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let watchdog = scope.spawn(move || {
                let late = watched.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
                if late {
                    sys::kill(-root);
                    // Children in sessions of their own end with what they wait for.
                }
                late
            });
            let result = self.step();
            drop(over);
            self.trace.late = watchdog.join().unwrap_or(false);
            result
        })
    }

    fn step(&mut self) -> io::Result<()> {
        while let Some((tid, stop)) = sys::wait_any()? {
            let new = !self.threads.contains_key(&tid);
            // A thread that was killed meanwhile is not there to be resumed: its end is next.
            let gone_is_fine = |result: io::Result<()>| match result {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                other => other,
            };
            match stop {
                Stop::Exited(code) => {
                    self.threads.remove(&tid);
                    if tid == self.root {
                        self.trace.exit = Some(code);
                    }
                    continue;
                }
                Stop::Killed(signal) => {
                    self.threads.remove(&tid);
                    if tid == self.root {
                        self.trace.signal = Some(signal);
                    }
                    continue;
                }
                Stop::Exec if tid != self.root => {
                    // An execve that is made has no exit for us: it is over here.
                    if self.threads.remove(&tid) == Some(AtExit::Kill) {
                        sys::kill(self.root);
                    }
                    gone_is_fine(sys::let_go(tid))?;
                    continue;
                }
                Stop::Call => gone_is_fine(self.at_call(tid))?,
                Stop::Signal(libc::SIGSTOP) if new => {
                    self.threads.insert(tid, AtExit::Nothing);
                }
                _ => {}
            }
            let signal = match stop {
                Stop::Signal(libc::SIGSTOP) if new => 0,
                Stop::Signal(signal) => signal,
                _ => 0,
            };
            let waits = self.threads.get(&tid).is_some_and(|at| *at != AtExit::Nothing);
            gone_is_fine(if self.done && !waits {
                sys::go_on(tid, signal)
            } else {
                sys::to_next_call(tid, signal)
            })?;
        }
        Ok(())
    }

    fn at_call(&mut self, tid: Tid) -> io::Result<()> {
        match sys::syscall(tid)? {
            Syscall::Entry { number, arguments } => {
                self.begun |= number == libc::SYS_sigaltstack;
                if number == libc::SYS_socketpair {
                    self.threads.insert(tid, AtExit::Pair(arguments[3]));
                }
                if self.begun && !self.done {
                    self.at_entry(tid, number, &arguments)?;
                }
            }
            Syscall::Exit { .. } => {
                let at = self.threads.insert(tid, AtExit::Nothing);
                match at.unwrap_or(AtExit::Nothing) {
                    AtExit::Nothing => {}
                    AtExit::Kill => sys::kill(self.root),
                    AtExit::Fail(errno) => sys::fail_call(tid, errno)?,
                    AtExit::Pair(address) => self.private.extend(call::pair(tid, address)),
                }
            }
            Syscall::None => {}
        }
        Ok(())
    }

    fn at_entry(&mut self, tid: Tid, number: i64, arguments: &[u64; 6]) -> io::Result<()> {
        let Some(call) = Call::of(tid, number, arguments) else { return Ok(()) };
        if self.private.contains(&call.object) {
            return Ok(());
        }
        self.fallible += 1;
        if call.weight == Weight::Changing {
            self.changing += 1;
        }
        match self.plan {
            Plan::Watch => self.trace.calls.push(call),
            Plan::KillBefore(wanted)
                if call.weight == Weight::Changing && wanted == self.changing =>
            {
                sys::kill(self.root);
                self.hit(call);
            }
            Plan::KillAfter(wanted)
                if call.weight == Weight::Changing && wanted == self.changing =>
            {
                self.threads.insert(tid, AtExit::Kill);
                self.hit(call);
            }
            Plan::Fail(wanted, errno) if wanted == self.fallible => {
                // Threads may have come in another order than when the calls were listed.
                let fits = call.errnos.contains(&errno);
                let errno = if fits { errno } else { call.errnos[wanted % call.errnos.len()] };
                sys::skip_call(tid)?;
                self.threads.insert(tid, AtExit::Fail(errno));
                self.hit(call);
            }
            _ => {}
        }
        Ok(())
    }

    fn hit(&mut self, call: Call) {
        self.trace.hit = Some(call);
        self.done = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str, plan: Plan, directory: &Path) -> Trace {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).current_dir(directory);
        run(&mut command, plan, Begin::Start, LIMIT).unwrap()
    }

    fn program(args: &[&str], plan: Plan, directory: &Path) -> Trace {
        let mut command = Command::new(args[0]);
        command.args(&args[1..]).current_dir(directory);
        run(&mut command, plan, Begin::Start, LIMIT).unwrap()
    }

    /// The number of the first call that changes something and is called `name`.
    fn find(args: &[&str], name: &str, directory: &Path) -> (usize, usize) {
        let calls = program(args, Plan::Watch, directory).calls;
        let at = calls.iter().position(|call| call.name == name).unwrap();
        let changing = calls[..=at].iter().filter(|call| call.weight == Weight::Changing).count();
        (changing, at + 1)
    }

    #[test]
    fn a_program_is_killed_before_its_call_or_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("made");
        let args = ["mkdir", "made"];
        let (point, _) = find(&args, "mkdir", directory.path());
        std::fs::remove_dir(&made).unwrap();

        let before = program(&args, Plan::KillBefore(point), directory.path());
        assert_eq!(before.signal, Some(libc::SIGKILL));
        assert_eq!(before.hit.unwrap().object, "made");
        assert!(!made.exists());

        let after = program(&args, Plan::KillAfter(point), directory.path());
        assert_eq!(after.signal, Some(libc::SIGKILL));
        assert!(made.exists());
    }

    #[test]
    fn a_call_that_fails_by_injection_has_no_effect() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), "content").unwrap();
        let args = ["cp", "a", "b"];
        let calls = program(&args, Plan::Watch, directory.path()).calls;
        assert_eq!(std::fs::read(directory.path().join("b")).unwrap(), b"content");
        std::fs::remove_file(directory.path().join("b")).unwrap();
        let point = 1 + calls
            .iter()
            .position(|call| call.weight == Weight::Changing && call.object == "b")
            .unwrap();
        let failed = program(&args, Plan::Fail(point, libc::ENOSPC), directory.path());
        assert_eq!(failed.exit, Some(1));
        assert!(failed.stderr.contains("No space left"), "{}", failed.stderr);
        assert!(!directory.path().join("b").exists());
        assert_eq!(failed.took, failed.took.min(LIMIT));
    }

    #[test]
    fn children_are_followed_until_they_become_another_program() {
        let directory = tempfile::tempdir().unwrap();
        let trace = shell("(: > inner); /bin/mkdir other; : > last", Plan::Watch, directory.path());
        assert_eq!(trace.exit, Some(0), "{}", trace.stderr);
        let made: Vec<&str> = trace
            .calls
            .iter()
            .filter(|call| call.weight == Weight::Changing && call.name == "openat")
            .map(|call| call.object.as_str())
            .collect();
        assert_eq!(made, ["inner", "last"]);
        assert!(trace.calls.iter().all(|call| call.name != "mkdir"));
        assert!(directory.path().join("other").is_dir());
    }

    #[test]
    fn a_kill_spares_the_program_that_a_child_became() {
        let directory = tempfile::tempdir().unwrap();
        let script = "setsid /bin/sh -c 'sleep 0.3; : > survived' & : > mark; sleep 60";
        let calls = shell("setsid true & : > mark; true", Plan::Watch, directory.path()).calls;
        assert!(calls.iter().any(|call| call.object == "mark"));
        // The order of parent and child is not given: look for the call by its object.
        let mut point = 0;
        let trace = loop {
            point += 1;
            let trace = shell(script, Plan::KillAfter(point), directory.path());
            if trace.hit.as_ref().is_some_and(|call| call.object == "mark") {
                break trace;
            }
            assert!(point < 50, "never came to the mark");
        };
        assert_eq!(trace.signal, Some(libc::SIGKILL));
        let until = Instant::now() + Duration::from_secs(20);
        while !directory.path().join("survived").exists() {
            assert!(Instant::now() < until, "the child's program did not live on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let limit = Duration::from_millis(200);
        let trace = run(&mut command, Plan::Watch, Begin::Start, limit).unwrap();
        assert!(trace.late);
        assert_eq!(trace.signal, Some(libc::SIGKILL));
    }
}
