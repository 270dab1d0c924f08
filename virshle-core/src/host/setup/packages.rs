//! What a distribution has and this host lacks: the command that brings it.

use std::path::Path;

use serde::Serialize;
use virshle_hypervisor::find_program;
use virshle_net::check_passt;

use crate::host::check::finding::TIMEOUT;
use crate::host::init::needs_switch;
use crate::host::setup::os_release::OsRelease;
use crate::machine::node::Node;

/// Where programs are that an ordinary user's `PATH` may not have.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// What this host lacks that its distribution has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Packages {
    /// The distribution, as it calls itself.
    pub distribution: String,
    /// What is missing, as people know it.
    pub missing: Vec<&'static str>,
    /// The commands that bring it, for root, in order.
    pub commands: Vec<String>,
    /// What no command brings there.
    pub notes: Vec<String>,
}

/// A part that distributions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Switch,
    Passt,
    Ssh,
    /// What serves a managed network, and what lets its guests out.
    Dnsmasq,
    Nftables,
}

/// How a distribution installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
    Apk,
    NixOs,
    Nix,
}

impl Need {
    const ALL: [Self; 5] = [Self::Switch, Self::Passt, Self::Ssh, Self::Dnsmasq, Self::Nftables];

    fn name(self) -> &'static str {
        match self {
            Self::Switch => "Open vSwitch",
            Self::Passt => "passt",
            Self::Ssh => "the OpenSSH client",
            Self::Dnsmasq => "dnsmasq",
            Self::Nftables => "nftables",
        }
    }

    fn is_missing(self, node: &Node) -> bool {
        let network = &node.config().network;
        let is_managed = network.subnet.is_some();
        match self {
            Self::Switch => needs_switch(node) && !is_installed("ovs-vswitchd"),
            Self::Passt => check_passt(&network.passt, TIMEOUT).is_err(),
            Self::Ssh => !is_installed("ssh"),
            Self::Dnsmasq => is_managed && !is_installed(&network.dnsmasq),
            Self::Nftables => is_managed && !is_installed(&network.nft),
        }
    }

    /// The package that has it.
    fn package(self, manager: Manager) -> &'static str {
        match (self, manager) {
            (Self::Switch, Manager::Apt) => "openvswitch-switch",
            (Self::Switch, _) => "openvswitch",
            (Self::Passt, _) => "passt",
            (Self::Dnsmasq, Manager::Apt) => "dnsmasq-base",
            (Self::Dnsmasq, _) => "dnsmasq",
            (Self::Nftables, _) => "nftables",
            (Self::Ssh, Manager::Apt | Manager::Apk) => "openssh-client",
            (Self::Ssh, Manager::Dnf | Manager::Zypper) => "openssh-clients",
            (Self::Ssh, Manager::Pacman | Manager::Nix | Manager::NixOs) => "openssh",
        }
    }

    /// The command after which its service runs, where installing it does not start it.
    fn start(self, manager: Manager) -> Option<&'static str> {
        match (self, manager) {
            (Self::Switch, Manager::Dnf | Manager::Zypper) => {
                Some("systemctl enable --now openvswitch")
            }
            (Self::Switch, Manager::Pacman) => Some("systemctl enable --now ovs-vswitchd"),
            (Self::Switch, Manager::Apk) => {
                Some("rc-update add ovs-vswitchd && rc-service ovs-vswitchd start")
            }
            _ => None,
        }
    }
}

impl Manager {
    fn of(release: &OsRelease) -> Option<Self> {
        release.ids.iter().find_map(|id| {
            Some(match id.as_str() {
                "debian" | "ubuntu" => Self::Apt,
                "fedora" | "rhel" | "centos" => Self::Dnf,
                "arch" => Self::Pacman,
                "suse" | "opensuse" => Self::Zypper,
                "alpine" => Self::Apk,
                "nixos" => Self::NixOs,
                _ => return None,
            })
        })
    }

    fn install(self, packages: &[&str]) -> String {
        let packages = packages.join(" ");
        match self {
            Self::Apt => format!("apt install {packages}"),
            Self::Dnf => format!("dnf install {packages}"),
            Self::Pacman => format!("pacman -S --needed {packages}"),
            Self::Zypper => format!("zypper install {packages}"),
            Self::Apk => format!("apk add {packages}"),
            Self::Nix | Self::NixOs => {
                let packages: Vec<String> =
                    packages.split(' ').map(|package| format!("nixpkgs#{package}")).collect();
                format!("nix profile install {}", packages.join(" "))
            }
        }
    }
}

/// What this host lacks.
pub(crate) fn missing_packages(node: &Node) -> Packages {
    let needs: Vec<Need> = Need::ALL.into_iter().filter(|need| need.is_missing(node)).collect();
    packages(&OsRelease::of_host(), &needs, is_installed("nix"))
}

fn packages(release: &OsRelease, needs: &[Need], has_nix: bool) -> Packages {
    let mut packages = Packages { distribution: release.name.clone(), ..Packages::default() };
    packages.missing = needs.iter().map(|need| need.name()).collect();
    let Some(manager) = Manager::of(release).or(has_nix.then_some(Manager::Nix)) else {
        let names = packages.missing.join(", ");
        if !needs.is_empty() {
            packages.notes.push(format!("install {names} as this distribution does"));
        }
        return packages;
    };
    if manager == Manager::NixOs {
        if !needs.is_empty() {
            let note =
                "services.virshle.enable = true, with this project's NixOS module, brings them";
            packages.notes.push(note.into());
        }
        return packages;
    }
    let mut needs = needs.to_vec();
    // Theirs can't be a back end of vhost-user.
    let is_old = release.is_older("debian", (13, 0)) || release.is_older("ubuntu", (25, 4));
    if is_old && needs.contains(&Need::Passt) {
        needs.retain(|need| *need != Need::Passt);
        packages.notes.push(format!(
            "{} has no passt that is new enough: Debian 13 and Ubuntu 25.04 have; without it there \
             are no user networks",
            release.name
        ));
    }
    if !needs.is_empty() {
        let names: Vec<&str> = needs.iter().map(|need| need.package(manager)).collect();
        packages.commands.push(manager.install(&names));
        packages
            .commands
            .extend(needs.iter().filter_map(|need| need.start(manager)).map(Into::into));
    }
    packages
}

fn is_installed(program: impl AsRef<Path>) -> bool {
    let program = program.as_ref();
    let in_system = || SYSTEM_DIRECTORIES.iter().any(|up| Path::new(up).join(program).is_file());
    find_program(program).is_some() || in_system()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, needs: &[Need]) -> Packages {
        packages(&OsRelease::parse(&format!("PRETTY_NAME=There\nID={id}")), needs, false)
    }

    #[test]
    fn each_distribution_has_its_commands() {
        for (id, commands) in [
            ("debian", &["apt install openvswitch-switch passt openssh-client"][..]),
            ("linuxmint\nID_LIKE=ubuntu", &["apt install openvswitch-switch passt openssh-client"]),
            (
                "fedora",
                &[
                    "dnf install openvswitch passt openssh-clients",
                    "systemctl enable --now openvswitch",
                ],
            ),
            (
                "rocky\nID_LIKE='rhel centos fedora'",
                &[
                    "dnf install openvswitch passt openssh-clients",
                    "systemctl enable --now openvswitch",
                ],
            ),
            (
                "arch",
                &[
                    "pacman -S --needed openvswitch passt openssh",
                    "systemctl enable --now ovs-vswitchd",
                ],
            ),
            (
                "opensuse-leap\nID_LIKE='suse opensuse'",
                &[
                    "zypper install openvswitch passt openssh-clients",
                    "systemctl enable --now openvswitch",
                ],
            ),
        ] {
            let found = of(id, &[Need::Switch, Need::Passt, Need::Ssh]);
            assert_eq!(found.commands, commands, "{id}");
            assert!(found.notes.is_empty(), "{found:?}");
            assert_eq!(of(id, &[]).commands, Vec::<String>::new());
        }
        assert_eq!(of("arch", &[Need::Passt]).commands, ["pacman -S --needed passt"]);
        let nixos = of("nixos", &Need::ALL);
        assert!(nixos.commands.is_empty() && nixos.notes[0].contains("services.virshle"));
        let nix = packages(&OsRelease::default(), &[Need::Passt, Need::Ssh], true);
        assert_eq!(nix.commands, ["nix profile install nixpkgs#passt nixpkgs#openssh"]);
        assert!(of("slackware", &[Need::Ssh]).notes[0].contains("OpenSSH client"));
    }

    #[test]
    fn a_passt_that_is_too_old_is_not_recommended() {
        let old = of("debian\nVERSION_ID=12", &[Need::Switch, Need::Passt]);
        assert_eq!(old.commands, ["apt install openvswitch-switch"]);
        assert!(old.notes[0].contains("Debian 13"), "{old:?}");
        let managed = [Need::Switch, Need::Dnsmasq, Need::Nftables];
        let expected = ["apt install openvswitch-switch dnsmasq-base nftables"];
        assert_eq!(of("debian", &managed).commands, expected);
        assert_eq!(of("ubuntu\nVERSION_ID=25.10", &[Need::Passt]).commands, ["apt install passt"]);
    }
}
