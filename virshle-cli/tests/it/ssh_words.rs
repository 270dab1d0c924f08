//! `v vm ssh` and `ssh vm/NAME` as people type them, on hosts as people have set them up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use virshle_testkit::{FakeVsock, Sshd};
use virshle_testkit_macros::test_on;

use crate::home::{Home, Ran, ran};

/// A home with the machine `web`, on whose vsock a real server listens at the ports 22 and 2222.
struct Lab {
    home: Home,
    sshd: Arc<Sshd>,
    vsock: Option<FakeVsock>,
}

impl Lab {
    fn new(port: u32) -> Self {
        let home = Home::new();
        home.ok("vm create -t bare --name web");
        let mut lab = Self { home, sshd: Arc::new(Sshd::new().unwrap()), vsock: None };
        lab.listen(port);
        lab
    }

    fn listen(&mut self, port: u32) {
        let socket: PathBuf = self.home.json("vm info web")["vsock"].as_str().unwrap().into();
        let sshd = Arc::clone(&self.sshd);
        self.vsock = None;
        self.vsock = Some(FakeVsock::start(&socket, port, move |it| sshd.serve(it)).unwrap());
    }

    fn identity(&self) -> String {
        self.sshd.identity().display().to_string()
    }

    /// `v vm ssh` with the key, and `words`.
    fn ssh(&self, words: &[&str]) -> Ran {
        let identity = self.identity();
        ran(&mut self.home.command(&[&["vm", "ssh", "-i", &identity][..], words].concat()))
    }

    /// The system's ssh with the lines that `v node ssh-config` prints, after `before`.
    fn openssh(&self, v: &mut Command, after: &str, words: &[&str]) -> Ran {
        let config = self.home.path("ssh_config");
        let lines = ran(v.args(["node", "ssh-config"]));
        assert_eq!(lines.code, 0, "{lines:?}");
        let text = format!("{}{after}\nIdentityFile {}\n", lines.stdout, self.identity());
        fs::write(&config, text).unwrap();
        let mut command = Command::new("ssh");
        command.arg("-F").arg(config).args(words).env("HOME", self.home.path(""));
        ran(command.stdin(Stdio::null()))
    }
}

fn user() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().into()
}

#[track_caller]
fn says(ran: &Ran, stdout: &str) {
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, stdout, ""), "{ran:?}");
}

#[test_on(Sshd)]
fn ssh_takes_the_words_that_ssh_takes() {
    let lab = Lab::new(22);
    let user = user();
    let at = format!("{user}@web");
    says(&lab.ssh(&["web", "echo", "-n", "$((6*7))"]), "42");
    says(&lab.ssh(&[&at, "echo", "--", "-l"]), "-- -l\n");
    says(&lab.ssh(&["web", "-l", &user, "-o", "BatchMode=yes", "echo", "-o", "x"]), "-o x\n");
    says(&lab.ssh(&["-T", "web", "--", "id", "-un"]), &format!("{user}\n"));
    says(&lab.ssh(&["--name", "web", "--", "echo", "by name"]), "by name\n");
    says(&lab.ssh(&["--id", "1", "echo", "by", "-id"]), "by -id\n");
    says(&lab.ssh(&["vm/web", "true"]), "");
    says(&lab.ssh(&["-F", "/dev/null", "-C", "-n", "web", "echo", "-C"]), "-C\n");
    // What is said before the machine counts more than what is said with it.
    let stranger = lab.ssh(&["-l", "no-such-user", &at, "true"]);
    assert!(stranger.stderr.contains("no-such-user@vm/web: Permission denied"), "{stranger:?}");
    let stranger = lab.ssh(&["no-such-user@web", "true"]);
    assert!(stranger.stderr.contains("no-such-user@vm/web: Permission denied"), "{stranger:?}");
    lab.home.run("vm ssh").fails_with(2, &["MACHINE"]);
    lab.home.run("vm ssh --id 1 --name web").fails_with(2, &["cannot be used with"]);
    lab.home.run("vm ssh root@db uname").fails_with(3, &["no machine \"db\""]);
}

#[test_on(Sshd)]
fn ssh_reaches_another_port() {
    let lab = Lab::new(2222);
    says(&lab.ssh(&["-p", "2222", "web", "echo", "there"]), "there\n");
    let refused = lab.ssh(&["--timeout", "0", "web", "true"]);
    assert_eq!(refused.code, 255, "{refused:?}");
}

#[test_on(Sshd)]
fn ssh_runs_whatever_the_callers_shell_is() {
    let lab = Lab::new(22);
    let identity = lab.identity();
    for shell in ["/usr/sbin/nologin", "/bin/false", "/no/such/shell"] {
        let mut command = lab.home.command(&["vm", "ssh", "-i", &identity, "web", "echo", "in"]);
        says(&ran(command.env("SHELL", shell)), "in\n");
    }
}

/// Its check can't run there, and what it would have said isn't said: then ssh must not be silent.
#[test_on(Sshd)]
fn ssh_is_not_silent_where_the_callers_shell_runs_nothing() {
    let lab = Lab::new(22);
    let mut v = lab.home.command(&[]);
    let lines = ran(v.args(["node", "ssh-config"]));
    let config = lab.home.path("ssh_config");
    fs::write(&config, &lines.stdout).unwrap();
    for shell in ["/bin/false", "/no/such/shell"] {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(&config).args(["vm/web", "true"]).env("SHELL", shell);
        let refused = ran(command.env("HOME", lab.home.path("")).stdin(Stdio::null()));
        assert_eq!(refused.code, 255, "{refused:?}");
        assert!(!refused.stderr.is_empty(), "{refused:?}");
    }
}

#[test_on(Sshd)]
fn ssh_says_an_error_of_ours_alone() {
    let lab = Lab::new(23);
    let refused = lab.ssh(&["--timeout", "0", "web", "true"]);
    assert_eq!(refused.code, 255, "{refused:?}");
    assert!(
        refused.stderr.starts_with("error: cannot reach port 22 of machine web"),
        "{refused:?}"
    );
    let mut v = lab.home.command(&[]);
    let absent = lab.openssh(&mut v, "", &["vm/nosuch", "true"]);
    assert!(absent.stderr.starts_with("error: no machine \"nosuch\""), "{absent:?}");
    let mut v = lab.home.command(&[]);
    lab.home.ok("vm create -t bare --name off");
    let off = lab.openssh(&mut v, "", &["vm+off", "true"]);
    assert!(off.stderr.starts_with("error: cannot connect to machine off"), "{off:?}");
    for ran in [refused, absent, off] {
        assert_eq!(ran.code, 255, "{ran:?}");
        assert_eq!(ran.stderr.matches("error").count(), 1, "{ran:?}");
        for noise in ["mm_receive_fd", "proxy dialer", "kex_", "Connection closed"] {
            assert!(!ran.stderr.contains(noise), "{ran:?}");
        }
    }
}

/// Regression: behind the error there were two lines about a descriptor that ssh did not get (#12).
#[test_on(Sshd)]
fn ssh_says_one_line_of_its_own_where_a_machine_does_not_answer() {
    let lab = Lab::new(23);
    let text =
        String::from_utf8(lab.home.command(&["node", "ssh-config"]).output().unwrap().stdout);
    let config = lab.home.path("ssh_config");
    let hasty = text.unwrap().replace("proxy --fdpass", "proxy --timeout 0 --fdpass");
    fs::write(&config, hasty).unwrap();
    for words in [&["vm/web", "true"][..], &["-tt", "vm+web"], &["-N", "vm/web"]] {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(&config).args(words).env("HOME", lab.home.path(""));
        let refused = ran(command.stdin(Stdio::null()));
        assert_eq!(refused.code, 255, "{refused:?}");
        let lines: Vec<&str> = refused.stderr.lines().collect();
        let [error, hint, own] = lines[..] else { panic!("{refused:?}") };
        assert!(error.starts_with("error: cannot reach port 22 of machine web"), "{refused:?}");
        assert!(hint.starts_with("  hint: "), "{refused:?}");
        // Reset or closed, by its version.
        assert!(own.starts_with("Connection ") && own.contains(" by "), "{refused:?}");
    }
}

/// Regression: a name with a slash was part of the file that a user's ControlPath names.
#[test_on(Root, Sshd)]
fn root_ssh_works_beside_settings_as_its_own_manual_recommends_them() {
    let lab = Lab::new(22);
    let sockets = lab.home.path("sockets");
    fs::create_dir(&sockets).unwrap();
    let text = format!("ControlMaster auto\nControlPath {}/%r@%h:%p\n", sockets.display());
    let after = format!("Host *\n{text}");
    let mut v = lab.home.command(&[]);
    says(&lab.openssh(&mut v, &after, &["vm/web", "echo in"]), "in\n");
    // The command's own ssh reads the files of the user and of the host; those are replaced for it.
    let config = lab.home.path("theirs");
    fs::write(&config, &after).unwrap();
    let identity = lab.identity();
    let inner = lab.home.command(&["vm", "ssh", "-i", &identity, "web", "echo", "in"]);
    let script = "mount --bind \"$0\" /etc/ssh/ssh_config && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(&config);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    says(&ran(command.current_dir(lab.home.path("")).stdin(Stdio::null())), "in\n");
    assert_eq!(fs::read_dir(&sockets).unwrap().count(), 0);
}

#[test_on(Sshd)]
fn ssh_runs_a_v_whose_path_has_a_percent_sign() {
    let lab = Lab::new(22);
    let folder = lab.home.path("100%s of %h");
    fs::create_dir(&folder).unwrap();
    let own = folder.join("v");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_v"), &own).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let command = |arguments: &[&str]| {
        let mut command = lab.home.command(arguments);
        command.env("PATH", &path);
        command
    };
    let identity = lab.identity();
    says(&ran(&mut command(&["vm", "ssh", "-i", &identity, "web", "echo", "in"])), "in\n");
    let ran = lab.openssh(&mut command(&[]), "", &["vm/web", "echo in"]);
    says(&ran, "in\n");
    let text = fs::read_to_string(lab.home.path("ssh_config")).unwrap();
    assert!(text.contains("100%%s of %%h/v"), "{text}");
    assert!(Path::new(&own).is_symlink());
}

#[test]
fn a_name_that_is_no_host_name_is_refused() {
    let home = Home::new();
    home.run("vm create -t bare --name a..b").fails_with(2, &["a..b", "no valid host name"]);
    home.ok("vm create -t bare --name a.b");
}
