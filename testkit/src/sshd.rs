//! A private ssh server: OpenSSH's, with keys of its own, for one user and one key.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Where distributions put it: not in every user's `PATH`.
const PROGRAM: &str = "/usr/sbin/sshd";

/// A private ssh server. It serves connections one by one, as inetd would run it, and lets the
/// current user in by the key [`Sshd::identity`].
#[derive(Debug)]
pub struct Sshd {
    directory: TempDir,
}

impl Sshd {
    /// Creates its keys and its configuration.
    ///
    /// # Errors
    ///
    /// If a file can't be written, or `ssh-keygen` fails.
    pub fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let sshd = Self { directory };
        for key in ["host_key", "identity"] {
            sshd.make_key(key)?;
        }
        fs::copy(sshd.path("identity.pub"), sshd.path("authorized_keys"))?;
        let at = |name: &str| sshd.path(name).display().to_string();
        let text = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPrintMotd no\nPrintLastLog no\n\
             Subsystem sftp internal-sftp\nLogLevel VERBOSE\n",
            at("host_key"),
            at("authorized_keys"),
        );
        fs::write(sshd.path("sshd_config"), text)?;
        Ok(sshd)
    }

    /// Returns whether the program is here.
    pub(crate) fn is_here() -> bool {
        Path::new(PROGRAM).exists()
    }

    /// The private key of the client that may log in.
    pub fn identity(&self) -> PathBuf {
        self.path("identity")
    }

    /// Creates another host key, as another machine has.
    ///
    /// # Errors
    ///
    /// As [`Sshd::new`].
    pub fn renew_host_key(&self) -> io::Result<()> {
        self.make_key("host_key")
    }

    /// Takes the private key `text` for its host key, as a machine does that got one.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn use_host_key(&self, text: &str) -> io::Result<()> {
        // The mode of the file stays.
        fs::write(self.path("host_key"), text)
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Serves `connection` until it ends.
    ///
    /// # Errors
    ///
    /// If the server can't be run. That it ends with a status of failure, as for a client who goes
    /// away, is none.
    pub fn serve(&self, connection: impl Into<OwnedFd>) -> io::Result<()> {
        let connection: OwnedFd = connection.into();
        let log = fs::File::options().create(true).append(true).open(self.path("log"))?;
        let mut command = if rustix::process::geteuid().is_root() {
            // Root's server wants an empty directory that its service makes: here it has a /run of
            // its own for that.
            let mut command = Command::new("unshare");
            let script = "mount -t tmpfs -o mode=755 none /run && mkdir /run/sshd && exec \"$@\"";
            command.args(["--mount", "--", "sh", "-c", script, "sh", PROGRAM]);
            command
        } else {
            Command::new(PROGRAM)
        };
        command.args(["-i", "-e", "-f"]).arg(self.path("sshd_config"));
        let input = connection.try_clone()?;
        let mut child = command.stdin(input).stdout(connection).stderr(log).spawn()?;
        // With it go the last copies of the connection that this process has.
        drop(command);
        child.wait().map(drop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn make_key(&self, name: &str) -> io::Result<()> {
        drop(fs::remove_file(self.path(name)));
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(self.path(name))
            .stdin(Stdio::null())
            .status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other("ssh-keygen failed")) }
    }
}
