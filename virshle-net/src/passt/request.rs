//! What a passt is to do.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::passt::forward::{Forward, ForwardProtocol};

/// A passt that is to serve one network interface of a virtual machine, by vhost-user.
///
/// Unless it is asked for, the guest reaches nothing that listens on the host's loopback only.
///
/// # References
///
/// passt(1).
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct PasstRequest {
    pub(crate) program: PathBuf,
    socket: PathBuf,
    pid_file: PathBuf,
    addresses: Vec<(IpAddr, u8)>,
    gateways: Vec<IpAddr>,
    forwards: Vec<Forward>,
    dns_forward: Option<(IpAddr, IpAddr)>,
    dns: Vec<IpAddr>,
    mtu_bytes: Option<u16>,
    host_loopback: bool,
    pub(crate) run_as: Option<(u32, u32)>,
}

impl PasstRequest {
    /// Asks for `program`, a path or a name to be looked up in `PATH`, at `socket`, which it creates.
    /// It writes its process id to `pid_file`.
    pub fn new(program: &Path, socket: &Path, pid_file: &Path) -> Self {
        Self {
            program: program.to_owned(),
            socket: socket.to_owned(),
            pid_file: pid_file.to_owned(),
            addresses: Vec::new(),
            gateways: Vec::new(),
            forwards: Vec::new(),
            dns_forward: None,
            dns: Vec::new(),
            mtu_bytes: None,
            host_loopback: false,
            run_as: None,
        }
    }

    /// The vhost-user socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The file with its process id.
    pub fn pid_file(&self) -> &Path {
        &self.pid_file
    }

    /// Gives the guest this address, by DHCP, DHCPv6 and router advertisements: one for each family.
    pub fn address(mut self, ip: IpAddr, prefix_len: u8) -> Self {
        self.addresses.push((ip, prefix_len));
        self
    }

    /// Sets the gateway that the guest is told: one for each family, link-local for IPv6.
    pub fn gateway(mut self, ip: IpAddr) -> Self {
        self.gateways.push(ip);
        self
    }

    /// Publishes a port of the guest.
    pub fn forward(mut self, forward: Forward) -> Self {
        self.forwards.push(forward);
        self
    }

    /// What is published.
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// Tells the guest that its name server is `guest`, and forwards what is asked there to `host`,
    /// of the same family.
    pub fn dns_forward(mut self, guest: IpAddr, host: IpAddr) -> Self {
        self.dns_forward = Some((guest, host));
        self
    }

    /// Tells the guest of this name server, which it asks itself.
    pub fn dns(mut self, server: IpAddr) -> Self {
        self.dns.push(server);
        self
    }

    /// Sets the largest payload of a frame that the guest is told, in bytes; 65520 unless set.
    pub fn mtu_bytes(mut self, mtu_bytes: u16) -> Self {
        self.mtu_bytes = Some(mtu_bytes);
        self
    }

    /// Lets the guest reach what listens on the host's loopback, at its gateway's address.
    pub fn host_loopback(mut self, host_loopback: bool) -> Self {
        self.host_loopback = host_loopback;
        self
    }

    /// Sets the user and group that it runs as when started by root. The socket is theirs, too.
    pub fn run_as(mut self, uid: u32, gid: u32) -> Self {
        self.run_as = Some((uid, gid));
        self
    }

    /// The arguments. The first three are what [`Passt::find`](crate::Passt::find) looks for.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--vhost-user".into(), "--socket".into()];
        arguments.push(self.socket.clone().into());
        let mut add = |option: &str, value: OsString| arguments.extend([option.into(), value]);
        add("--pid", self.pid_file.clone().into());
        // A second socket, by which a machine's connections could be taken along to another host.
        add("--repair-path", "none".into());
        for (ip, prefix_len) in &self.addresses {
            add("--address", ip.to_string().into());
            // IPv6's prefix is always that of /64.
            if ip.is_ipv4() {
                add("--netmask", prefix_len.to_string().into());
            }
        }
        for gateway in &self.gateways {
            add("--gateway", gateway.to_string().into());
        }
        if let Some((guest, host)) = self.dns_forward {
            add("--dns-forward", guest.to_string().into());
            add("--dns-host", host.to_string().into());
            add("--dns", guest.to_string().into());
        }
        for server in &self.dns {
            add("--dns", server.to_string().into());
        }
        if self.dns_forward.is_none() && self.dns.is_empty() {
            add("--dns", "none".into());
        }
        if let Some(mtu) = self.mtu_bytes {
            add("--mtu", mtu.to_string().into());
        }
        for (protocol, option) in
            [(ForwardProtocol::Tcp, "--tcp-ports"), (ForwardProtocol::Udp, "--udp-ports")]
        {
            let forwards = || self.forwards.iter().filter(|forward| forward.protocol == protocol);
            forwards().for_each(|forward| add(option, forward.argument().into()));
            // Said nothing, passt opens the UDP ports of the TCP ones.
            if forwards().next().is_none() {
                add(option, "none".into());
            }
        }
        if let Some((uid, gid)) = self.run_as {
            add("--runas", format!("{uid}:{gid}").into());
        }
        arguments.push("--quiet".into());
        if !self.host_loopback {
            arguments.push("--no-map-gw".into());
        }
        arguments
    }

    /// The command: it goes into the background by itself when it is ready, in a session of its own
    /// and without a descriptor of its starter. What confines a process can be added to it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments()).current_dir("/");
        // A program that is looked up, or a script, needs to know where; nothing else is its business.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(request: &PasstRequest) -> String {
        let words: Vec<_> =
            request.arguments().iter().map(|word| word.to_str().unwrap().to_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn by_default_a_guest_is_kept_from_the_hosts_loopback_and_publishes_nothing() {
        let request = PasstRequest::new("passt".as_ref(), "/a.sock".as_ref(), "/a.pid".as_ref());
        assert_eq!(
            arguments(&request),
            "--vhost-user --socket /a.sock --pid /a.pid --repair-path none --dns none \
             --tcp-ports none --udp-ports none --quiet --no-map-gw"
        );
    }

    #[test]
    fn what_is_asked_for_is_in_the_arguments() {
        let ip = |text: &str| text.parse().unwrap();
        let request = PasstRequest::new("passt".as_ref(), "/a.sock".as_ref(), "/a.pid".as_ref())
            .address(ip("10.0.2.15"), 24)
            .address(ip("fd00::15"), 64)
            .gateway(ip("10.0.2.2"))
            .gateway(ip("fe80::2"))
            .dns_forward(ip("10.0.2.3"), ip("127.0.0.53"))
            .forward(Forward::new(ForwardProtocol::Tcp, 8080, 80))
            .forward(Forward::new(ForwardProtocol::Tcp, 2222, 22).at(ip("127.0.0.1")))
            .forward(Forward::new(ForwardProtocol::Udp, 5353, 53))
            .mtu_bytes(1500)
            .host_loopback(true)
            .run_as(1000, 1001);
        assert_eq!(
            arguments(&request),
            "--vhost-user --socket /a.sock --pid /a.pid --repair-path none \
             --address 10.0.2.15 --netmask 24 --address fd00::15 --gateway 10.0.2.2 \
             --gateway fe80::2 --dns-forward 10.0.2.3 --dns-host 127.0.0.53 --dns 10.0.2.3 \
             --mtu 1500 --tcp-ports 8080:80 --tcp-ports 127.0.0.1/2222:22 --udp-ports 5353:53 \
             --runas 1000:1001 --quiet"
        );
    }
}
