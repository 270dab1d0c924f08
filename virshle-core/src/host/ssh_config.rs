//! The lines of ssh's configuration by which `ssh vm/NAME` is a session in a machine.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::fs::error::FileError;
use crate::guest::ssh::quote::{QuoteError, quote, quote_program};
use crate::host::step::{InitMode, InitStep, step};

/// The file of our own, beside the user's configuration; and how that one names it.
const FILE: &str = "config.d/virshle";
/// The user's configuration, and where it is.
const CONFIG: &str = "config";
const DIRECTORY: &str = ".ssh";

/// What stands before a machine in a host name. A slash can't be in what `scp` and `rsync` take
/// for a host: for them there is the plus sign, which no name of the DNS has.
const PREFIXES: [&str; 2] = ["vm/", "vm+"];

/// The machine that a host name of ssh means: `web` for `vm/web` and `vm+web`; other words are
/// themselves.
pub fn machine_of_host(host: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| host.strip_prefix(prefix)).unwrap_or(host)
}

/// The lines of ssh's configuration by which `ssh vm/NAME` is a session in a machine, and `scp` and
/// `rsync` reach it as `vm+NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshConfig {
    text: Vec<u8>,
}

impl SshConfig {
    /// The lines for a `v` that is run as `program`: its absolute path, and the options that hold for
    /// every command, as `--root`.
    ///
    /// # Errors
    ///
    /// [`QuoteError`] if an argument can't be quoted for ssh.
    ///
    /// # References
    ///
    /// ssh_config(5): `ProxyCommand`, `ProxyUseFdpass`, `KnownHostsCommand` (OpenSSH 8.5).
    pub fn new(program: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Self, QuoteError> {
        let mut arguments = Vec::new();
        let mut for_keys = Vec::new();
        for (at, argument) in program.into_iter().enumerate() {
            let quoted = quote(argument.as_ref())?;
            let is_program = at == 0;
            for_keys.push(if is_program {
                quote_program(argument.as_ref())?
            } else {
                quoted.clone()
            });
            arguments.push(quoted);
        }
        let program: OsString = arguments.join(OsStr::new(" "));
        let keys_program: OsString = for_keys.join(OsStr::new(" "));
        let mut text = Vec::new();
        for line in [
            "# Virshle: ssh vm/NAME, scp FILE vm+NAME:, rsync FILE vm+NAME:",
            "# `v node ssh-config --install` writes this file anew.",
            // What can't be reached at all is said by the check, and by ssh not a second time. It succeeds
            // if it has said so: where it can't run, as with a shell that runs nothing, ssh isn't silent.
            // Both commands go to a shell, in which quotes hold all of a name but a quote: OpenSSH looks into names
            // only since 9.6.
            "Match originalhost \"vm/*,vm+*,!*'*\" exec \"{v} vm proxy --unreachable '%n'\"",
            "    ProxyCommand false",
            "    ProxyUseFdpass no",
            "    LogLevel QUIET",
            "Host vm/* vm+* \"!*'*\"",
            // For a user's own may have the host, whose name has a slash, in that of a file.
            "    ControlPath none",
            "    ProxyCommand {v} vm proxy --fdpass '%n'",
            "    ProxyUseFdpass yes",
            // The keys of a machine are kept with it and end with it. The command remembers the
            // first one, so nothing is new to ssh, nor is there anything for it to write.
            "    KnownHostsCommand {v} vm known-hosts --as %H --offered %t:%K %n",
            "    UserKnownHostsFile /dev/null",
            "    StrictHostKeyChecking yes",
            "    CheckHostIP no",
        ] {
            match line.split_once("{v}") {
                Some((before, after)) => {
                    let is_for_keys = before.contains("KnownHostsCommand");
                    text.extend(before.as_bytes());
                    text.extend(if is_for_keys { &keys_program } else { &program }.as_bytes());
                    text.extend(after.as_bytes());
                }
                None => text.extend(line.as_bytes()),
            }
            text.push(b'\n');
        }
        Ok(Self { text })
    }

    /// The lines.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Makes the lines hold for the user whose home is `home`: as a file of their own, which the
    /// first line of their `~/.ssh/config` includes. May run any number of times.
    ///
    /// The configuration is replaced in one step and keeps its mode and its owner; a link to it
    /// stays a link.
    ///
    /// # Errors
    ///
    /// [`FileError::ForeignHome`] if the directory is another user's, who could lead a write by root
    /// anywhere; if a file can't be read or written.
    pub fn install(&self, home: &Path, mode: InitMode) -> Result<Vec<InitStep>, FileError> {
        refuse_foreign(home)?;
        let directory = home.join(DIRECTORY);
        let file = directory.join(FILE);
        let config = directory.join(CONFIG);
        let read = |path: &Path| match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
        };
        let outdated = read(&file)?.as_ref() != Some(&self.text);
        let user = read(&config)?.unwrap_or_default();
        let unnamed = !includes(&user, home);
        if mode == InitMode::Apply {
            for path in [&directory, &directory.join("config.d")] {
                ensure_directory(path)
                    .map_err(|source| FileError::Write { path: path.clone(), source })?;
            }
            if outdated {
                replace(&file, &self.text)?;
            }
            if unnamed {
                let line = format!("Include {FILE}\n");
                let gap = if user.is_empty() { "" } else { "\n" };
                replace(&config, &[line.as_bytes(), gap.as_bytes(), &user].concat())?;
            }
        }
        Ok(vec![
            step(mode, format!("file {}", file.display()), outdated),
            step(mode, format!("line \"Include {FILE}\" in {}", config.display()), unnamed),
        ])
    }
}

/// Refuses a home that belongs to another user than the caller: `sudo` may leave `HOME` as it was.
fn refuse_foreign(home: &Path) -> Result<(), FileError> {
    let metadata =
        fs::metadata(home).map_err(|source| FileError::Read { path: home.to_owned(), source })?;
    match metadata.uid() {
        uid if uid == rustix::process::geteuid().as_raw() => Ok(()),
        uid => Err(FileError::ForeignHome { path: home.to_owned(), uid }),
    }
}

/// Whether the configuration includes our file before its first condition, behind which it
/// would hold for some hosts only.
fn includes(config: &[u8], home: &Path) -> bool {
    let text = String::from_utf8_lossy(config);
    let own = home.join(DIRECTORY);
    for line in text.lines() {
        let mut arguments = line.split(|c: char| c.is_whitespace() || c == '=' || c == '"');
        let mut arguments = arguments.by_ref().filter(|word| !word.is_empty());
        let keyword = arguments.next().unwrap_or_default().to_ascii_lowercase();
        match keyword.as_str() {
            "host" | "match" => return false,
            "include" => {
                let named = arguments.any(|word| {
                    let word = word.strip_prefix("~/.ssh/").unwrap_or(word);
                    let relative = Path::new(word).strip_prefix(&own).unwrap_or(Path::new(word));
                    relative == Path::new(FILE) || relative == Path::new("config.d/*")
                });
                if named {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// Creates a directory that only its user enters, as ssh wants it; it belongs to the owner of the one
/// above it, also when root makes it.
fn ensure_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => own(&File::open(path)?, path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a new file to the owner of its directory.
fn own(file: &File, path: &Path) -> io::Result<()> {
    let above = fs::metadata(path.parent().unwrap_or(path))?;
    give(file, above.uid(), above.gid())
}

fn give(file: &File, uid: u32, gid: u32) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (uid, gid) { Ok(()) } else { fchown(file, Some(uid), Some(gid)) }
}

/// Replaces the content of `path` in one step. Its mode and its owner stay; behind a link, it is
/// the file it leads to that is replaced.
fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let path = match fs::canonicalize(path) {
        Ok(path) => path,
        // A link that leads nowhere, as to a disk that is not mounted, is its owner's all the same.
        Err(source) if path.is_symlink() => {
            return Err(FileError::Write { path: path.to_owned(), source });
        }
        Err(_) => path.to_owned(),
    };
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(name);
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        match fs::metadata(&path) {
            Ok(old) => {
                give(&file, old.uid(), old.gid())?;
                file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => own(&file, &path)?,
            Err(error) => return Err(error),
        }
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().map_err(|source| {
        // The failure is what counts; that its leftover can't be removed follows from it.
        drop(fs::remove_file(&temporary));
        FileError::Write { path, source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::step::InitOutcome;

    fn config() -> SshConfig {
        SshConfig::new(["/usr/bin/v", "--root", "/srv/my vms"]).unwrap()
    }

    fn outcomes(home: &Path, mode: InitMode) -> Vec<InitOutcome> {
        config().install(home, mode).unwrap().iter().map(|step| step.outcome).collect()
    }

    #[test]
    fn the_lines_run_this_v_with_its_options() {
        let text = String::from_utf8(config().text().to_vec()).unwrap();
        let proxy = "ProxyCommand /usr/bin/v --root '/srv/my vms' vm proxy --fdpass '%n'\n";
        assert!(text.contains(proxy), "{text}");
        // A name in a shell is quoted, and one with a quote is none.
        for line in text.lines().filter(|line| line.contains("vm proxy")) {
            assert!(line.contains("'%n'"), "{line}");
        }
        assert!(text.contains("\nHost vm/* vm+* \"!*'*\"\n"), "{text}");
        assert!(text.contains("\nMatch originalhost \"vm/*,vm+*,!*'*\" exec "), "{text}");
        assert!(SshConfig::new(["/opt/it's/v"]).is_err());
        assert_eq!(machine_of_host("vm/web"), "web");
        assert_eq!(machine_of_host("vm+web"), "web");
        assert_eq!(machine_of_host("web"), "web");
    }

    #[test]
    fn a_user_without_a_configuration_gets_one_of_their_own() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        assert_eq!(outcomes(home, InitMode::DryRun), [InitOutcome::Would; 2]);
        assert!(!home.join(".ssh").exists());
        assert_eq!(outcomes(home, InitMode::Apply), [InitOutcome::Made; 2]);
        assert_eq!(
            fs::read_to_string(home.join(".ssh/config")).unwrap(),
            "Include config.d/virshle\n"
        );
        let mode = |path: &str| fs::metadata(home.join(path)).unwrap().mode() & 0o777;
        assert_eq!(
            (mode(".ssh"), mode(".ssh/config"), mode(".ssh/config.d/virshle")),
            (0o700, 0o600, 0o600)
        );
        assert_eq!(outcomes(home, InitMode::Apply), [InitOutcome::There; 2]);
    }

    #[test]
    fn a_configuration_keeps_all_that_is_in_it_and_its_mode_and_its_link() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        fs::create_dir_all(home.join(".ssh")).unwrap();
        let theirs = b"Host vm/*\n  Include config.d/virshle\nUser \xff";
        fs::write(home.join("dotfile"), theirs).unwrap();
        fs::set_permissions(home.join("dotfile"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("../dotfile", home.join(".ssh/config")).unwrap();
        assert_eq!(outcomes(home, InitMode::Apply), [InitOutcome::Made; 2]);
        let expected = [b"Include config.d/virshle\n\n".as_slice(), theirs].concat();
        assert_eq!(fs::read(home.join("dotfile")).unwrap(), expected);
        assert_eq!(fs::metadata(home.join("dotfile")).unwrap().mode() & 0o777, 0o640);
        assert!(home.join(".ssh/config").is_symlink());
        assert_eq!(outcomes(home, InitMode::Apply), [InitOutcome::There; 2]);
        let names =
            fs::read_dir(home).unwrap().count() + fs::read_dir(home.join(".ssh")).unwrap().count();
        assert_eq!(names, 4, "nothing is left beside the files");
    }

    /// Regression: a link that led nowhere was replaced by a file (#12).
    #[test]
    fn a_link_that_leads_nowhere_stays() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".ssh/config");
        fs::create_dir_all(home.path().join(".ssh")).unwrap();
        std::os::unix::fs::symlink("../nowhere", &config).unwrap();
        assert!(replace(&config, b"Include x").is_err());
        assert_eq!(fs::read_link(&config).unwrap(), Path::new("../nowhere"));
    }

    #[test]
    fn an_include_that_has_it_already_is_enough() {
        let home = Path::new("/home/a");
        for line in [
            "Include config.d/*",
            "include=\"~/.ssh/config.d/*\"",
            "Include other /home/a/.ssh/config.d/virshle",
        ] {
            assert!(includes(format!("# x\n{line}\n").as_bytes(), home), "{line}");
            assert!(!includes(format!("Host x\n{line}\n").as_bytes(), home), "{line}");
        }
        for line in
            ["", "Include config.d/other", "#Include config.d/virshle", "Includes config.d/*"]
        {
            assert!(!includes(line.as_bytes(), home), "{line}");
        }
    }
}
