//! passt itself.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use virshle_net::{Forward, ForwardProtocol, Passt, PasstError, PasstRequest, check_passt};
use virshle_testkit::passt;
use virshle_testkit_macros::test_on;

/// Only what has gone wrong takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

fn request(directory: &Path) -> PasstRequest {
    PasstRequest::new(&passt(), &directory.join("a.sock"), &directory.join("a.pid"))
        .address("10.0.2.15".parse().unwrap(), 24)
        .gateway("10.0.2.2".parse().unwrap())
}

#[test_on(Passt)]
fn passt_says_that_it_is_new_enough() {
    let version = check_passt(&passt(), PATIENCE).unwrap();
    assert!(version.text.starts_with(|c: char| c.is_ascii_digit()), "{version:?}");
}

#[test_on(Passt)]
fn passt_serves_its_socket_and_ports_until_it_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let forward = Forward::free_on_loopback(22).unwrap();
    let request = request(directory.path()).forward(forward);
    let started = request.start(PATIENCE).unwrap();
    let PasstError::PortTaken { holder, .. } = forward.check_free().unwrap_err() else {
        panic!("the port is free")
    };
    let holder = holder.expect("who has the port is not seen");
    assert_eq!(holder.pid, started.pid());
    assert_eq!(holder.passt_socket.as_deref(), Some(request.socket()));
    drop(started);

    // It runs on, and it is the same one.
    let found = Passt::find(request.pid_file(), request.socket()).unwrap();
    let all = Passt::all_under(directory.path()).unwrap();
    assert_eq!(all.iter().map(Passt::pid).collect::<Vec<_>>(), [found.pid()]);
    let mode = fs::metadata(request.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // In a session of its own, so that it outlives its starter's.
    let pid = rustix::process::Pid::from_raw(i32::try_from(found.pid()).unwrap());
    assert_eq!(rustix::process::getsid(pid).ok(), pid);

    // A client that goes is no end of it.
    for _ in 0..2 {
        drop(UnixStream::connect(request.socket()).unwrap());
    }
    assert!(!found.wait_exit(Duration::from_millis(50)));
    found.end(PATIENCE).unwrap();
    assert!(Passt::find(request.pid_file(), request.socket()).is_none());
    forward.check_free().unwrap();
}

#[test_on(Passt)]
fn passt_that_cannot_have_a_port_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Forward::new(ForwardProtocol::Tcp, port, 80).at(Ipv4Addr::LOCALHOST.into());
    let request = request(directory.path()).forward(taken);
    let error = request.start(PATIENCE).unwrap_err();
    assert!(error.is_bind_failure(), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(Passt::all_under(directory.path()).unwrap().is_empty());
    // One that is dropped while it comes up leaves nothing either.
    let free = Forward::free_on_loopback(80).unwrap();
    let request = self::request(directory.path()).forward(free);
    drop(request.begin(request.command()).unwrap());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    free.check_free().unwrap();
}

#[test_on(Passt)]
fn passt_leads_no_guest_to_the_hosts_loopback() {
    // What a guest sends to its gateway, and where it comes out.
    for (host_loopback, reached) in [(false, false), (true, true)] {
        let directory = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let request = request(directory.path()).host_loopback(host_loopback);
        // The frames of a plain stream are easier to speak than vhost-user; the rest is the same.
        let mut command = std::process::Command::new(passt());
        let words = request.arguments();
        command.args(words.iter().filter(|word| *word != "--vhost-user"));
        assert!(command.stderr(std::process::Stdio::null()).status().unwrap().success());
        let pid = fs::read_to_string(request.pid_file()).unwrap();
        let mut guest = UnixStream::connect(request.socket()).unwrap();
        guest.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        for destination in [[10, 0, 2, 2], [127, 0, 0, 1]] {
            send(&mut guest, &syn(destination, port));
        }
        drop(guest.read(&mut [0; 64]));
        let came = listener.accept().is_ok();
        let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        assert_eq!(came, reached, "host_loopback = {host_loopback}");
    }
}

fn send(guest: &mut UnixStream, frame: &[u8]) {
    guest.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
    guest.write_all(frame).unwrap();
}

/// A frame of the guest that opens a TCP connection.
fn syn(destination: [u8; 4], port: u16) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15];
    ip.extend(destination);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut tcp = vec![0x9c, 0x40];
    tcp.extend(port.to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let mut pseudo = ip[12..20].to_vec();
    pseudo.extend([0, 6, 0, 20]);
    pseudo.extend(&tcp);
    let sum = checksum(&pseudo);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let ethernet = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1, 8, 0];
    [ethernet.to_vec(), ip, tcp].concat()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}
