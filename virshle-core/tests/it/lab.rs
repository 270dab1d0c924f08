//! A private node for a test: its own folder, its own image, its own configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use virshle_core::template::{Config, Systemd};
use virshle_core::{CreateRequest, Force, InitMode, Node, Selection, StartOptions, Vm};
use virshle_testkit::{OpenVswitch, TestKernel};

/// Only what has gone wrong takes that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node in a temporary folder. Machines that a failed test leaves running are ended with it.
pub(crate) struct Lab {
    folder: TempDir,
    pub(crate) node: Node,
}

impl Lab {
    /// A node whose configuration is `text`, in which `{folder}` stands for the lab's folder:
    /// there is `{folder}/image.raw`, and a kernel that halts as `{folder}/kernel`.
    pub(crate) fn new(text: &str) -> Self {
        Self::with_kernel(text, &TestKernel::halt())
    }

    pub(crate) fn with_kernel(text: &str, kernel: &TestKernel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let written = kernel.write(folder.path()).unwrap();
        fs::rename(written, folder.path().join("kernel")).unwrap();
        fs::write(folder.path().join("image.raw"), vec![7; 64 << 10]).unwrap();
        let node = Self::node(folder.path(), text);
        Self { folder, node }
    }

    fn node(folder: &Path, text: &str) -> Node {
        let program = std::env::var("CLOUD_HYPERVISOR").unwrap_or("cloud-hypervisor".into());
        let text = format!("[hypervisor]\nprogram = {program:?}\n{text}")
            .replace("{folder}", folder.to_str().unwrap());
        let mut config = Config::from_toml(&text, &folder.join("config.toml"))
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        // The host's own systemd is none of a test's business.
        if config.node.systemd == Systemd::Auto {
            config.node.systemd = Systemd::Off;
        }
        Node::new(config, Some(&folder.join("root")))
    }

    /// The same folder under another configuration.
    pub(crate) fn reconfigured(&self, text: &str) -> Node {
        Self::node(self.folder.path(), text)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes one machine of `template`.
    pub(crate) fn create(&self, template: &str) -> Vm {
        let mut made = self.node.create(&CreateRequest::new(template), &|_| {}).unwrap();
        made.remove(0).result.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// What is in the folder of machines.
    pub(crate) fn machine_folders(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("root/vm"))
            .map(|entries| {
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }

    /// Asserts that the node has nothing that belongs to no machine.
    #[track_caller]
    pub(crate) fn assert_no_orphans(&self) {
        let orphans = self.node.check().unwrap().orphans;
        assert!(orphans.is_empty(), "{orphans:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A test that failed half-way may leave machines running: they must not outlive it.
        for vm in self.node.select(&Selection::all()).unwrap_or_default() {
            drop(vm.remove(Force::Yes));
        }
        if let Ok(check) = self.node.check() {
            drop(self.node.repair(check.orphans));
        }
    }
}

/// A node on the switch `ovs`, its bridge made, with a template of a network of `kind`.
pub(crate) fn networked(ovs: &OpenVswitch, kind: &str) -> Lab {
    let lab = Lab::new(&networked_config(ovs, kind));
    init(&lab.node);
    lab
}

/// The same, with another kernel.
pub(crate) fn networked_with(ovs: &OpenVswitch, kind: &str, kernel: &TestKernel) -> Lab {
    let lab = Lab::with_kernel(&networked_config(ovs, kind), kernel);
    init(&lab.node);
    lab
}

/// The same as [`networked`], with these keys of the network instead of its VLAN.
pub(crate) fn networked_as(ovs: &OpenVswitch, kind: &str, keys: &str) -> Lab {
    let lab = Lab::new(&networked_config(ovs, kind).replace("vlan = 12", keys));
    init(&lab.node);
    lab
}

/// Makes what the node is missing. The switch of a busy host may take longer for a bridge than `init`
/// waits; it may run again, as a user would.
pub(crate) fn init(node: &Node) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = node.init(InitMode::Apply) {
        let silent = format!("{error:?}").contains("SwitchSilent");
        assert!(silent && Instant::now() < deadline, "{error:?}");
    }
}

/// Options of a start that only what has gone wrong makes fail, however busy the host is.
pub(crate) fn patient() -> StartOptions {
    let mut options = StartOptions::default();
    options.boot_timeout = PATIENCE;
    options.answer_timeout = PATIENCE;
    options
}

/// The configuration of such a node.
pub(crate) fn networked_config(ovs: &OpenVswitch, kind: &str) -> String {
    format!(
        r#"
[network]
ovsdb = "{}"
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"
kernel = "{{folder}}/kernel"
[[template.vm.net]]
name = "main"
vlan = 12
[template.vm.net.type.{kind}]
"#,
        ovs.address()
    )
}

/// A template of the least machine: a kernel, 64 MiB, no disk, no network.
pub(crate) const LEAST: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"
kernel = "{folder}/kernel"
"#;

/// The same with a disk of its own from an image.
pub(crate) const DISK: &str = r#"
[[template.vm]]
name = "xs"
vcpu = 1
vram = "64MiB"
kernel = "{folder}/kernel"
[[template.vm.disk]]
name = "os"
path = "{folder}/image.raw"
size = "1M"
"#;
