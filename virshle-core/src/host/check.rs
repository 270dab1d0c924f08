//! Is this host fit for machines? What is missing or wrong, and the command that mends it.

use std::fs::File;
use std::time::Duration;

use serde::Serialize;
use virshle_hypervisor::Version;
use virshle_net::Switch;
use virshle_template::NetKind;

use crate::error::CoreError;
use crate::host::repair::Orphan;
use crate::machine::node::Node;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// As it should be.
    Good,
    /// Machines run, but less well.
    Warning,
    /// Something won't work.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The thing.
    pub subject: String,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// The command, or the act, that mends it.
    pub mend: Option<String>,
}

/// What [`Node::check`] found.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct NodeCheck {
    /// What was looked at, in the order of a machine's start.
    pub findings: Vec<Finding>,
    /// What belongs to no machine, and can be removed.
    pub orphans: Vec<Orphan>,
}

impl NodeCheck {
    /// The worst of the findings.
    pub fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good)
    }
}

/// How long the switch may take for an answer, and a program to tell its version.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The subject of what says whether the switch answers.
const OVSDB: &str = "ovsdb";

fn good(subject: &str, message: impl Into<String>) -> Finding {
    Finding { subject: subject.into(), level: Level::Good, message: message.into(), mend: None }
}

fn bad(level: Level, subject: &str, message: String, mend: Option<String>) -> Finding {
    Finding { subject: subject.into(), level, message, mend }
}

/// A failure as a finding: the error with its causes, and its hint as the way to mend it.
fn failure(level: Level, subject: &str, error: &CoreError) -> Finding {
    bad(level, subject, chain(error), error.hint())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl Node {
    /// Looks at everything that a machine's start needs on this host, and for what belongs to no
    /// machine. Changes nothing.
    ///
    /// # Errors
    ///
    /// Only if the machines can't be listed: what is missing is a finding, not an error.
    pub fn check(&self) -> Result<NodeCheck, CoreError> {
        let mut findings = Vec::new();
        findings.extend(self.check_config());
        findings.extend(self.check_root());
        findings.push(check_kvm());
        findings.push(self.check_hypervisor());
        findings.push(self.check_firmware());
        findings.push(check_landlock());
        let network = self.check_network();
        // A switch that gives no answer is told of there: it hides nothing else.
        let no_switch =
            network.iter().any(|finding| finding.subject == OVSDB && finding.level != Level::Good);
        findings.extend(network);
        findings.extend(
            self.store()
                .find()?
                .broken
                .iter()
                .map(|error| bad(Level::Missing, "machine", chain(error), error.hint())),
        );
        let orphans = if no_switch { self.orphans_of_host()? } else { self.orphans()? };
        Ok(NodeCheck { findings, orphans })
    }

    fn check_config(&self) -> Vec<Finding> {
        let config = self.config();
        let mut findings: Vec<Finding> = config
            .mistakes()
            .iter()
            .map(|mistake| {
                let message = format!(
                    "{}:{}:{}: {}",
                    mistake.path.display(),
                    mistake.line,
                    mistake.column,
                    mistake.message
                );
                bad(Level::Warning, "template", message, Some("v template check".into()))
            })
            .collect();
        let images = config.templates().flat_map(|template| {
            template.disks.iter().filter_map(move |disk| Some((template, self.source(disk)?)))
        });
        for (template, path) in images {
            if let Err(error) = virshle_disk::inspect(&path) {
                let message = format!("{}: {}", template.name, chain(&error));
                findings.push(bad(Level::Warning, "image", message, error.hint()));
            }
        }
        if findings.is_empty() {
            let count = config.templates().count();
            findings.push(match config.origin() {
                Some(path) => good("templates", format!("{count} in {}", path.display())),
                None => bad(
                    Level::Warning,
                    "templates",
                    "no configuration file".into(),
                    Some("write /etc/virshle/config.toml; the README begins with one".into()),
                ),
            });
        }
        findings
    }

    fn check_root(&self) -> Vec<Finding> {
        let root = self.root();
        let shown = root.display();
        if !self.store().missing().is_empty() {
            let message = format!("{shown} is not set up");
            return vec![bad(Level::Missing, "root", message, Some("v node init".into()))];
        }
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        if let Err(errno) = rustix::fs::access(root.join("vm"), access) {
            let message = format!("{shown} can't be written: {errno}");
            let mend = "run as its owner, or choose a root with --root or [node] root";
            return vec![bad(Level::Missing, "root", message, Some(mend.into()))];
        }
        let mut findings = vec![good("root", format!("{shown}"))];
        findings.push(match virshle_disk::supports_reflink(&root.join("vm")) {
            Ok(true) => good("reflink", "disks are cloned in an instant"),
            Ok(false) => bad(
                Level::Warning,
                "reflink",
                format!("the filesystem of {shown} can't share extents: disks are copied"),
                Some(format!(
                    "keep {shown} and the images on one XFS or btrfs filesystem, or set clone = \
                     \"overlay\""
                )),
            ),
            Err(error) => bad(Level::Warning, "reflink", chain(&error), error.hint()),
        });
        findings
    }

    fn check_hypervisor(&self) -> Finding {
        let program = &self.config().hypervisor.program;
        match virshle_hypervisor::version(program, TIMEOUT) {
            Ok(version) if version >= Version::MINIMUM => {
                good("cloud-hypervisor", format!("{} {version}", program.display()))
            }
            Ok(version) => bad(
                Level::Missing,
                "cloud-hypervisor",
                format!("{version} is older than {}", Version::MINIMUM),
                Some("install a newer release of cloud-hypervisor".into()),
            ),
            Err(error) => bad(Level::Missing, "cloud-hypervisor", chain(&error), error.hint()),
        }
    }

    fn check_firmware(&self) -> Finding {
        let configured = self.config().hypervisor.firmware.as_deref();
        match configured.map(ToOwned::to_owned).or_else(virshle_hypervisor::find_firmware) {
            Some(path) => match File::open(&path) {
                Ok(_) => good("firmware", path.display().to_string()),
                Err(error) => bad(
                    Level::Missing,
                    "firmware",
                    format!("{}: {error}", path.display()),
                    Some("correct [hypervisor] firmware".into()),
                ),
            },
            None => bad(
                Level::Warning,
                "firmware",
                "none in the usual places: only templates with a kernel of their own will start"
                    .into(),
                virshle_hypervisor::firmware_places().first().map(|place| {
                    format!("put cloud-hypervisor's CLOUDHV.fd at {}", place.display())
                }),
            ),
        }
    }

    fn check_network(&self) -> Vec<Finding> {
        let kinds: Vec<NetKind> = self
            .config()
            .templates()
            .flat_map(|template| template.nets.iter().map(|net| net.kind))
            .collect();
        // A host whose machines need no switch lacks nothing without one.
        let severe = if kinds.iter().all(|kind| *kind == NetKind::Macvtap) {
            Level::Warning
        } else {
            Level::Missing
        };
        let mut switch = match self.switch(TIMEOUT) {
            Ok(switch) => switch,
            Err(error) => return vec![failure(severe, OVSDB, &error)],
        };
        // A server that is there and says nothing is asked once, and not for everything.
        if let Err(error) = switch.capabilities() {
            return vec![bad(severe, OVSDB, chain(&error), error.hint())];
        }
        let mut findings = vec![good(OVSDB, self.config().network.ovsdb.clone())];
        match switch.ping_vswitchd(TIMEOUT) {
            Ok(()) => findings.push(self.check_vswitchd(&mut switch)),
            Err(error) => {
                findings.push(bad(severe, "ovs-vswitchd", chain(&error), error.hint()));
            }
        }
        findings.push(self.check_bridge(&mut switch, severe));
        if kinds.contains(&NetKind::Vhost) {
            findings.extend(check_dpdk(&mut switch));
        }
        findings
    }

    fn check_vswitchd(&self, switch: &mut Switch) -> Finding {
        match switch.capabilities() {
            Ok(capabilities) => {
                let version = capabilities.version.as_deref().unwrap_or("applies changes");
                good("ovs-vswitchd", version)
            }
            Err(error) => bad(Level::Missing, "ovs-vswitchd", chain(&error), error.hint()),
        }
    }

    fn check_bridge(&self, switch: &mut Switch, severe: Level) -> Finding {
        let network = &self.config().network;
        let name = &network.bridge;
        match switch.bridge(name) {
            Ok(Some(bridge))
                if bridge.datapath == crate::host::init::datapath(network.datapath) =>
            {
                match &network.uplink {
                    Some(uplink) if !switch.is_patched(name, uplink).unwrap_or(false) => bad(
                        Level::Warning,
                        "bridge",
                        format!("{name} is not linked to {uplink}"),
                        Some("v node init".into()),
                    ),
                    _ => good("bridge", format!("{name} ({} datapath)", bridge.datapath)),
                }
            }
            Ok(Some(bridge)) => bad(
                severe,
                "bridge",
                format!("{name} has the {} datapath, not the configured one", bridge.datapath),
                Some(format!(
                    "set [network] datapath = \"{}\", or name another bridge",
                    bridge.datapath
                )),
            ),
            Ok(None) => bad(severe, "bridge", format!("no {name}"), Some("v node init".into())),
            Err(error) => bad(severe, "bridge", chain(&error), error.hint()),
        }
    }
}

fn check_kvm() -> Finding {
    match crate::machine::kvm::open() {
        Ok(()) => good("kvm", "/dev/kvm"),
        Err(error) => failure(Level::Missing, "kvm", &error),
    }
}

fn check_landlock() -> Finding {
    match virshle_hypervisor::landlock_available() {
        true => good("landlock", "a VMM reaches its machine's files only"),
        false => bad(
            Level::Warning,
            "landlock",
            "the kernel does not offer it: a VMM can open what its user can".into(),
            Some("Linux 6.2 or later, with landlock in the kernel parameter lsm=".into()),
        ),
    }
}

fn check_dpdk(switch: &mut Switch) -> Vec<Finding> {
    let capabilities = match switch.capabilities() {
        Ok(capabilities) => capabilities,
        Err(error) => return vec![bad(Level::Missing, "dpdk", chain(&error), error.hint())],
    };
    if capabilities.can_vhost_user() {
        return vec![good("dpdk", "vhost-user ports can be made")];
    }
    let mut findings = vec![bad(
        Level::Missing,
        "dpdk",
        "ovs-vswitchd runs without DPDK: it can't make vhost-user ports".into(),
        Some(
            "apt install openvswitch-switch-dpdk, then: update-alternatives --set ovs-vswitchd \
             /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk; ovs-vsctl set Open_vSwitch . \
             other_config:dpdk-init=true; systemctl restart openvswitch-switch"
                .into(),
        ),
    )];
    let pages = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0);
    if pages == 0 {
        findings.push(bad(
            Level::Missing,
            "hugepages",
            "none of 2 MiB; DPDK needs some for itself".into(),
            Some("sysctl vm.nr_hugepages=512".into()),
        ));
    }
    findings
}
