//! What can go wrong, by the operation that failed. Names and addresses are plain text here: the
//! types that check them report their own failures by this one.
//!
//! It is longer than other files: a crate has one enum of errors, and each its hint beside it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A failed operation on the database, the switch or a network device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The text is no MAC address of six bytes.
    #[error("{text:?} is not a MAC address")]
    InvalidMacAddr {
        /// What was given.
        text: String,
    },
    /// The kernel would refuse this name, or cut it.
    #[error("{name:?} is not the name of a network interface: {reason}")]
    InvalidInterfaceName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is no address of a database.
    #[error("{text:?} is not an OVSDB address")]
    InvalidAddress {
        /// What was given.
        text: String,
    },
    /// The text names no datapath.
    #[error("{text:?} is not a datapath: netdev or system")]
    UnknownDatapath {
        /// What was given.
        text: String,
    },
    /// The text is no UUID.
    #[error("{text:?} is not a UUID")]
    InvalidUuid {
        /// What was given.
        text: String,
    },
    /// The request contradicts itself or the standard.
    #[error("cannot ask for port {port}: {reason}")]
    InvalidPort {
        /// The port's name.
        port: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// Nothing answers at the database's address.
    #[error("cannot connect to the Open vSwitch database at {address}")]
    Connect {
        /// Where it was looked for.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke while a message was being sent.
    #[error("cannot send {awaited} to {address}")]
    Send {
        /// The server.
        address: String,
        /// The request.
        awaited: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke while an answer was awaited.
    #[error("cannot receive {awaited} from {address}")]
    Receive {
        /// The server.
        address: String,
        /// What was awaited.
        awaited: String,
        /// Why not.
        source: io::Error,
    },
    /// The server closed the connection.
    #[error("{address} closed the connection while {awaited} was awaited")]
    Closed {
        /// The server.
        address: String,
        /// What was awaited.
        awaited: String,
    },
    /// The database did not answer in time.
    #[error("{address} gave no {awaited} within {timeout:?}")]
    TimedOut {
        /// The server.
        address: String,
        /// What was awaited.
        awaited: String,
        /// How long.
        timeout: Duration,
    },
    /// The server sent something that is not OVSDB; the connection can't be used any more.
    #[error("{address} does not speak OVSDB: {reason}")]
    Malformed {
        /// The server.
        address: String,
        /// What it sent.
        reason: String,
    },
    /// The server refused the whole request.
    #[error("{address} refused {method}: {error}")]
    Refused {
        /// The server.
        address: String,
        /// The request's method.
        method: String,
        /// The server's message.
        error: String,
    },
    /// One operation of a transaction failed, so that none was done.
    #[error("the database refused operation {index} ({operation}): {error}{}", details_of(.details))]
    Operation {
        /// Its place in the transaction; one past the last means that the commit failed.
        index: usize,
        /// What it was, as `insert Port`.
        operation: String,
        /// The error's short name, as `constraint violation`.
        error: String,
        /// The server's message; may be empty.
        details: String,
    },

    /// `ovs-vswitchd` has not applied what the database holds.
    #[error("ovs-vswitchd has not applied {awaited} within {timeout:?}")]
    SwitchSilent {
        /// What it should have done.
        awaited: String,
        /// How long it was given.
        timeout: Duration,
    },
    /// The database has no row in `Open_vSwitch`.
    #[error("the Open vSwitch database at {address} was never initialized")]
    NotInitialized {
        /// The server.
        address: String,
    },
    /// No such bridge.
    #[error("there is no bridge {bridge}")]
    NoBridge {
        /// Its name.
        bridge: String,
    },
    /// The bridge is there, with another datapath.
    #[error("bridge {bridge} has the {found} datapath, not {wanted}")]
    BridgeDatapath {
        /// Its name.
        bridge: String,
        /// What it has.
        found: String,
        /// What was wanted.
        wanted: &'static str,
    },
    /// The host has another device of the bridge's name, so none was asked for.
    #[error(
        "{bridge} is a network device of this host already{}, and not a bridge of Open vSwitch",
        in_brackets(.kind)
    )]
    BridgeTaken {
        /// Its name.
        bridge: String,
        /// What the device is: `bridge` is one of the kernel's own; empty if the kernel doesn't say.
        kind: String,
    },
    /// `ovs-vswitchd` could not create the bridge; it was removed again.
    #[error("ovs-vswitchd could not create bridge {bridge}: {reason}")]
    BridgeFailed {
        /// Its name.
        bridge: String,
        /// The switch's message.
        reason: String,
    },
    /// The bridge, port or patch link has no mark of ours, so it was left alone.
    #[error("{what} was not created by virshle")]
    NotOurs {
        /// As `bridge vs0`.
        what: String,
    },
    /// The bridge still has ports.
    #[error("bridge {bridge} still has {ports} ports")]
    BridgeInUse {
        /// Its name.
        bridge: String,
        /// How many, its own not counted.
        ports: usize,
    },
    /// Packets can't pass between two datapaths.
    #[error("cannot link bridge {a} ({a_datapath}) to bridge {b} ({b_datapath})")]
    PatchDatapaths {
        /// One bridge.
        a: String,
        /// Its datapath.
        a_datapath: String,
        /// The other bridge.
        b: String,
        /// Its datapath.
        b_datapath: String,
    },
    /// A port of that name exists and belongs to another owner; it was left alone.
    #[error("there is a port {port} already, {}", owner_of(.owner))]
    PortTaken {
        /// Its name.
        port: String,
        /// The machine it belongs to, if it was created by virshle.
        owner: Option<String>,
    },
    /// No such port.
    #[error("there is no port {port} on bridge {bridge}")]
    NoPort {
        /// Its name.
        port: String,
        /// The bridge.
        bridge: String,
    },
    /// `ovs-vswitchd` could not create the port; it was removed again.
    #[error("ovs-vswitchd could not add port {port} to bridge {bridge}: {reason}")]
    PortFailed {
        /// Its name.
        port: String,
        /// The bridge.
        bridge: String,
        /// The switch's message.
        reason: String,
    },
    /// A vhost-user port was asked for, and this Open vSwitch runs without DPDK.
    #[error("cannot create vhost-user ports: ovs-vswitchd runs without DPDK")]
    NoDpdk,
    /// No link came up.
    #[error("port {port} has no link after {timeout:?}")]
    NoLink {
        /// The port's name.
        port: String,
        /// How long it was given.
        timeout: Duration,
    },

    /// The tap device could not be created.
    #[error("cannot create tap {name}")]
    CreateTap {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The macvtap device could not be created.
    #[error("cannot create macvtap {name} on {lower}")]
    CreateMacvtap {
        /// Its name.
        name: String,
        /// The device below it.
        lower: String,
        /// Why not.
        source: io::Error,
    },
    /// The macvtap's character device could not be opened.
    #[error("cannot open {} of macvtap {name}", .path.display())]
    OpenMacvtap {
        /// Its name.
        name: String,
        /// Its character device.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A network device could not be changed, looked up or deleted.
    #[error("cannot {action} network device {name}")]
    Device {
        /// As `set the mtu of`.
        action: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// The device exists and is of another kind, so it was left alone.
    #[error("network device {name} is not a {wanted}")]
    DeviceKind {
        /// Its name.
        name: String,
        /// As `tap`.
        wanted: &'static str,
    },
    /// A bridge's management socket can't be reached, or the connection broke.
    #[error("cannot {action} the bridge's management socket {}", .socket.display())]
    Management {
        /// As `connect to`.
        action: &'static str,
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The bridge refused a message: nothing of its bundle was done.
    #[error("the bridge at {} refused OpenFlow 1.4 or a flow (error {kind}, code {code})", .socket.display())]
    OpenFlowRefused {
        /// Its management socket.
        socket: PathBuf,
        /// OpenFlow's number for the kind of error.
        kind: u16,
        /// Which of that kind.
        code: u16,
    },
    /// What answered at the management socket does not speak OpenFlow.
    #[error("what listens at {} does not speak OpenFlow: {reason}", .socket.display())]
    OpenFlowMalformed {
        /// The management socket.
        socket: PathBuf,
        /// What it sent.
        reason: String,
    },
    /// The control socket of `ovs-vswitchd` can't be reached, or the connection broke.
    #[error("cannot {action} the control socket {}", .socket.display())]
    Control {
        /// As `connect to`.
        action: &'static str,
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `ovs-vswitchd` did not do what it was asked to by its control socket.
    #[error("ovs-vswitchd refused {command}: {message}")]
    ControlRefused {
        /// The command.
        command: String,
        /// Its message.
        message: String,
    },
    /// What answered at the control socket does not speak its protocol.
    #[error("what listens at {} is no control socket: {reason}", .socket.display())]
    ControlMalformed {
        /// The control socket.
        socket: PathBuf,
        /// What it sent.
        reason: String,
    },
    /// A setting of a network device could not be read or set.
    #[error("cannot {action} {}", .path.display())]
    Sysctl {
        /// `read` or `set`.
        action: &'static str,
        /// Its file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's neighbour table could not be read.
    #[error("cannot read the neighbour table")]
    Neighbours {
        /// Why not.
        source: io::Error,
    },
    /// Changes of the kernel's neighbour table could not be watched.
    #[error("cannot watch the neighbour table")]
    WatchNeighbours {
        /// Why not.
        source: io::Error,
    },
    /// There is no device of the name of a bridge of the kernel.
    #[error("there is no bridge {bridge} on this host")]
    NoLinuxBridge {
        /// The bridge.
        bridge: String,
    },
    /// A device is no bridge of the kernel.
    #[error("{device} is no bridge of the kernel: it is {what}")]
    NotALinuxBridge {
        /// The device.
        device: String,
        /// What it is.
        what: String,
    },
    /// A bridge of the kernel takes no notice of VLANs, so a port can't be kept to some.
    #[error("bridge {bridge} does not filter VLANs: a port of it can't have {vlans}")]
    NoVlanFiltering {
        /// The bridge.
        bridge: String,
        /// What was asked for.
        vlans: String,
    },
    /// A bridge of the kernel has no VLAN for frames without a tag.
    #[error("bridge {bridge} has no VLAN for frames without a tag")]
    NoDefaultVlan {
        /// The bridge.
        bridge: String,
    },
    /// The kernel did not do something for a port of one of its bridges.
    #[error("cannot {action} {device} on bridge {bridge}")]
    BridgePort {
        /// What was asked for.
        action: &'static str,
        /// The device that is the port.
        device: String,
        /// The bridge.
        bridge: String,
        /// Why not.
        source: io::Error,
    },
    /// The kernel did not take a filter or a rate of a device's frames.
    #[error("cannot {action} {device}")]
    TrafficControl {
        /// What was asked for.
        action: &'static str,
        /// The device.
        device: String,
        /// Why not.
        source: io::Error,
    },
    /// The switch's user could not be given access to a socket.
    #[error("cannot give user {uid} access to {}", .path.display())]
    GrantAccess {
        /// The socket or the directory on the way to it.
        path: PathBuf,
        /// The user.
        uid: u32,
        /// Why not.
        source: io::Error,
    },
}

fn details_of(details: &str) -> String {
    if details.is_empty() { String::new() } else { format!(": {details}") }
}

fn in_brackets(kind: &str) -> String {
    if kind.is_empty() { String::new() } else { format!(" ({kind})") }
}

fn owner_of(owner: &Option<String>) -> String {
    match owner {
        Some(name) => format!("of machine {name}"),
        None => "not created by virshle".into(),
    }
}

impl NetError {
    /// The remedy, if there is one. It speaks of the host; a command that
    /// prepares the host is the front end's to name.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::InvalidAddress { .. } => {
                "write unix:/run/openvswitch/db.sock or tcp:HOST:PORT".into()
            }
            Self::InvalidInterfaceName { .. } => {
                "use at most 15 bytes, no blank and no slash".into()
            }
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, or give this user access to the database's socket".into()
            }
            Self::Connect { .. } | Self::TimedOut { .. } | Self::Closed { .. } => {
                "is ovsdb-server running? (Debian: apt install openvswitch-switch; \
                 systemctl start openvswitch-switch)"
                    .into()
            }
            Self::NotInitialized { .. } => "run: ovs-vsctl --no-wait init".into(),
            Self::SwitchSilent { .. } => "is ovs-vswitchd running? (Debian: systemctl restart \
                                          openvswitch-switch; its log: \
                                          /var/log/openvswitch/ovs-vswitchd.log)"
                .into(),
            Self::NoBridge { bridge } => {
                format!("create it (ovs-vsctl add-br {bridge}), or correct its name")
            }
            Self::BridgeDatapath { found, .. } => {
                format!("use another bridge, or configure the datapath {found:?}")
            }
            Self::BridgeTaken { .. } => "choose another name for the bridge of Open vSwitch".into(),
            Self::BridgeFailed { .. } => "its log says more; only the system datapath needs the \
                                          kernel module openvswitch (modprobe openvswitch)"
                .into(),
            Self::PatchDatapaths { .. } => {
                "give both bridges the same datapath: packets do not pass between two".into()
            }
            Self::PortTaken { port, owner: None } => {
                format!("choose another name, or remove it: ovs-vsctl del-port {port}")
            }
            Self::Management { source, .. } | Self::Control { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                "run as root, or give this user access to the socket".into()
            }
            Self::Management { socket, .. } | Self::Control { socket, .. } => {
                let directory = socket.parent().unwrap_or(socket).display();
                format!(
                    "is ovs-vswitchd running, with its sockets in {directory}? (Debian: systemctl \
                     restart openvswitch-switch)"
                )
            }
            Self::OpenFlowRefused { kind: 0, .. } => {
                "the bridge's protocols leave OpenFlow14 out: \
                                                      ovs-vsctl clear bridge BRIDGE protocols"
                    .into()
            }
            Self::Sysctl { .. } => {
                "run as root, with /proc/sys writable: a container or a unit can \
                                     have it read-only"
                    .into()
            }
            Self::NoDpdk => format!("use a tap; or, as root: {}", crate::DPDK_RECIPE.join("; ")),
            Self::NoLink { .. } => {
                "can ovs-vswitchd's user reach the vhost-user socket, and does the machine run?"
                    .into()
            }
            Self::CreateTap { source, .. } | Self::CreateMacvtap { source, .. } => {
                match source.raw_os_error() {
                    Some(1 | 13) => "creating network devices needs root or CAP_NET_ADMIN (setcap \
                                     cap_net_admin+ep on the program); a vhost network needs neither"
                        .into(),
                    Some(16 | 17) => "a device of that name exists already".into(),
                    Some(95) => "this kernel lacks the driver (modprobe macvtap)".into(),
                    Some(2) => "is /dev/net/tun there? (modprobe tun)".into(),
                    _ => return None,
                }
            }
            Self::NoLinuxBridge { bridge } => format!(
                "create it (ip link add {bridge} type bridge; ip link set {bridge} up), or \
                 correct the link"
            ),
            Self::NotALinuxBridge { device, .. } => format!(
                "name a bridge of the kernel as the link; for a bridge of Open vSwitch use type = \
                 \"tap\", and [network] bridge = {device:?}"
            ),
            Self::NoVlanFiltering { bridge, .. } => format!(
                "let it filter them, which all its ports get to feel (ip link set {bridge} type \
                 bridge vlan_filtering 1), or leave vlan and trunk away"
            ),
            Self::NoDefaultVlan { .. } => "name the VLAN of the port: vlan = 1".into(),
            Self::BridgePort { source, .. } | Self::TrafficControl { source, .. }
                if source.raw_os_error() == Some(1) =>
            {
                "run as root, or with CAP_NET_ADMIN".into()
            }
            Self::TrafficControl { source, .. }
                if matches!(source.raw_os_error(), Some(2 | 95)) =>
            {
                "this kernel lacks a part of traffic control (modprobe -a sch_ingress cls_bpf \
                 sch_tbf act_police)"
                    .into()
            }
            Self::GrantAccess { source, .. } if source.raw_os_error() == Some(95) => {
                "keep the machines on a filesystem with POSIX ACLs (ext4, xfs, btrfs, tmpfs), or \
                 run ovs-vswitchd as root"
                    .into()
            }
            _ => return None,
        };
        Some(hint)
    }
}
