//! A node of its own: its root, its configuration, its machines; and `v` on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use virshle_core::hypervisor::Vmm;
use virshle_testkit::TestKernel;

use crate::program;
use virshle_testkit::{Failure, While};

/// The bridge of the kernel that a template names; it need not be there.
pub(crate) const KERNEL_BRIDGE: &str = "vmbr0";

/// A node in a directory.
#[derive(Debug)]
pub(crate) struct Home {
    directory: PathBuf,
    v: PathBuf,
}

impl Home {
    /// Makes one in `directory`, with templates of small machines whose guest halts at once; `database`
    /// is the address of Open vSwitch's, if there is one.
    ///
    /// The templates: `bare`; `user`, `tap`, `vhost` and `bridge`, with one network; `queues` and
    /// `queue`, two vCPUs with a tap and a disk of as many queues, and of one; and with one disk of
    /// `image.raw`, which need not be there, `image`, `copy` and `overlay`.
    pub(crate) fn make(
        directory: &Path,
        v: &Path,
        database: Option<&str>,
    ) -> Result<Self, Failure> {
        let failed = || format!("cannot populate {}", directory.display());
        let shown = directory.display();
        fs::create_dir_all(directory.join("home")).doing(failed)?;
        let kernel = TestKernel::halt().write(directory).doing(failed)?;
        let mut text =
            format!("[node]\nalias = \"bench\"\nsystemd = \"off\"\nroot = \"{shown}/n\"\n");
        text.push_str(&format!("[network]\npasst = {:?}\n", virshle_testkit::passt()));
        if let Some(database) = database {
            text.push_str(&format!("ovsdb = \"{database}\"\n"));
        }
        let disk = format!("[[template.vm.disk]]\nname = \"os\"\npath = \"{shown}/image.raw\"\n");
        let net = |kind: &str| {
            format!("[[template.vm.net]]\nname = \"main\"\n[template.vm.net.type.{kind}]\n")
        };
        let link = format!("\nlink = \"{KERNEL_BRIDGE}\"\n[template");
        let one = "\nqueues = 1\n[template".to_owned();
        let data = "[[template.vm.disk]]\nname = \"data\"\nsize = \"1M\"\n".to_owned();
        for (name, more) in [
            ("bare", String::new()),
            ("user", net("user")),
            ("tap", net("tap")),
            ("vhost", net("vhost")),
            ("bridge", net("bridge").replace("\n[template", &link)),
            ("queues", format!("{}{data}", net("tap"))),
            ("queue", format!("{}{data}queues = 1\n", net("tap").replace("\n[template", &one))),
            ("image", disk.clone()),
            ("copy", format!("{disk}clone = \"copy\"\n")),
            ("overlay", format!("{disk}clone = \"overlay\"\n")),
        ] {
            let vcpus = if name.starts_with("queue") { 2 } else { 1 };
            text.push_str(&format!(
                "[[template.vm]]\nname = \"{name}\"\nvcpu = {vcpus}\nvram = \"32MiB\"\nkernel = \"{}\"\n\
                 {more}",
                kernel.display()
            ));
        }
        fs::write(directory.join("config.toml"), text).doing(failed)?;
        Ok(Self { directory: directory.to_owned(), v: v.to_owned() })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("n")
    }

    /// A `v` for this node, with nothing of the caller's surroundings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.v);
        command.args(args).env_clear();
        command.env("HOME", self.directory.join("home"));
        command.env("VIRSHLE_CONFIG", self.directory.join("config.toml"));
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }

    /// How long `v` takes, which has to succeed.
    pub(crate) fn time(&self, args: &[&str]) -> Result<Duration, Failure> {
        program::time(&mut self.command(args))
    }

    /// Runs `v`, which has to succeed.
    pub(crate) fn v(&self, args: &[&str]) -> Result<String, Failure> {
        program::output(&mut self.command(args))
    }

    /// Makes `count` machines of `template`.
    pub(crate) fn create(&self, template: &str, count: usize) -> Result<(), Failure> {
        if count > 0 {
            self.v(&["vm", "create", "-t", template, "-n", &count.to_string()])?;
        }
        Ok(())
    }

    /// The directories of the machines.
    pub(crate) fn machines(&self) -> Result<Vec<PathBuf>, Failure> {
        let directory = self.root().join("vm");
        let failed = || format!("cannot read {}", directory.display());
        let entries = fs::read_dir(&directory).doing(failed)?;
        entries.map(|entry| Ok(entry.doing(failed)?.path())).collect()
    }
}

impl Drop for Home {
    /// Ends what still runs here: a filesystem in use could not be unmounted.
    fn drop(&mut self) {
        for vmm in Vmm::all_under(&self.root()).unwrap_or_default() {
            if vmm.kill().is_ok() {
                vmm.wait_exit(Duration::from_secs(5));
            }
        }
    }
}
