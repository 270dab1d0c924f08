//! Reads and writes messages of rtnetlink(7), and asks the kernel about network devices.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

/// The kernel answers at once; this is for a kernel that doesn't.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than the kernel puts into one answer.
const ROOM: usize = 64 << 10;

/// `struct nlmsghdr` of netlink(7).
pub(crate) const HEADER: usize = 16;
/// `struct ifinfomsg` of rtnetlink(7).
const LINK_HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_REPLACE: u16 = 0x100;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
const IFF_UP: u32 = 1;

/// What is asked about a device.
///
/// # References
///
/// `rtnetlink(7)`, `linux/if_link.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Verb {
    /// `RTM_NEWLINK`, of a device that must not be there.
    Create = 16,
    /// `RTM_DELLINK`
    Delete = 17,
    /// `RTM_GETLINK`
    Get = 18,
    /// `RTM_SETLINK`
    Set = 19,
}

/// `IFLA_…`
pub(crate) mod attribute {
    pub(crate) const ADDRESS: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const MTU: u16 = 4;
    pub(crate) const LINK: u16 = 5;
    pub(crate) const MASTER: u16 = 10;
    pub(crate) const INFO: u16 = 18;
    pub(crate) const ALIAS: u16 = 20;
    /// Inside [`INFO`].
    pub(crate) const INFO_KIND: u16 = 1;
    pub(crate) const INFO_DATA: u16 = 2;
    /// Inside [`INFO_DATA`] of a macvtap.
    pub(crate) const MACVLAN_MODE: u16 = 1;
}

/// A request about the device called so.
#[derive(Debug)]
pub(crate) struct Request {
    verb: Verb,
    bytes: Vec<u8>,
}

impl Request {
    pub(crate) fn new(verb: Verb, name: &str) -> Self {
        let mut request = Self { verb, bytes: vec![0; HEADER + LINK_HEADER] };
        request.put(attribute::NAME, &[name.as_bytes(), &[0]].concat());
        request
    }

    /// Asks for the device to be up.
    pub(crate) fn up(mut self) -> Self {
        for at in [HEADER + 8, HEADER + 12] {
            self.bytes[at..at + 4].copy_from_slice(&IFF_UP.to_ne_bytes());
        }
        self
    }

    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        self.put(kind, value);
        self
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(encode(kind, value));
    }

    /// Sends it; what the kernel answers to [`Verb::Get`].
    pub(crate) fn send(mut self) -> io::Result<Option<Link>> {
        let flags = NLM_F_REQUEST
            | match self.verb {
                Verb::Get => 0,
                Verb::Create => NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
                Verb::Set | Verb::Delete => NLM_F_ACK,
            };
        let length = u32::try_from(self.bytes.len()).map_err(io::Error::other)?;
        self.bytes[..HEADER].copy_from_slice(&header(length, self.verb as u16, flags));
        let socket = open(0)?;
        send(&socket, &self.bytes)?;
        let mut room = vec![0; 32 << 10];
        let (received, _) = recv(&socket, room.as_mut_slice(), RecvFlags::empty())?;
        read_answer(&room[..received])
    }
}

/// Opens a socket that is notified of changes in the multicast `groups`, and waits for the kernel's
/// answers a bounded time.
pub(crate) fn open(groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT))?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Sends `request` to the kernel.
pub(crate) fn send(socket: &OwnedFd, request: &[u8]) -> io::Result<()> {
    sendto(socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// Sends a request that changes something, and waits until the kernel has acknowledged it.
pub(crate) fn change(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let socket = open(0)?;
    send(&socket, &request(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)?)?;
    let mut room = vec![0; ROOM];
    let (received, _) = recv(&socket, room.as_mut_slice(), RecvFlags::empty())?;
    messages(&room[..received]).next().ok_or_else(cut_short)?.map(drop)
}

/// Sends a request whose answer is a list, and gives each of its messages to `each`.
pub(crate) fn dump(kind: u16, body: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let socket = open(0)?;
    send(&socket, &request(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?)?;
    let mut room = vec![0; ROOM];
    loop {
        let (received, _) = recv(&socket, room.as_mut_slice(), RecvFlags::empty())?;
        if received == 0 {
            return Ok(());
        }
        for message in messages(&room[..received]) {
            let message = message?;
            if message.kind == NLMSG_DONE {
                return Ok(());
            }
            each(message.body);
        }
    }
}

fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
    Ok([&header(length, kind, flags)[..], body].concat())
}

/// The header of a request of `length` bytes in all.
pub(crate) fn header(length: u32, kind: u16, flags: u16) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

/// A message of the kernel, without its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) body: &'a [u8],
}

/// The messages in `bytes`, up to the first that is cut short. A refusal is an error.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = io::Result<Message<'_>>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(piece(bytes, 0)?)).ok()?;
        let kind = u16::from_ne_bytes(piece(bytes, 4)?);
        let body = bytes.get(HEADER..length)?;
        let next = length.checked_next_multiple_of(4)?;
        bytes = bytes.get(next..).unwrap_or_default();
        Some(match (kind, piece(body, 0).map(i32::from_ne_bytes)) {
            (NLMSG_ERROR, None) => Err(cut_short()),
            (NLMSG_ERROR, Some(errno)) if errno != 0 => {
                Err(io::Error::from_raw_os_error(errno.saturating_neg()))
            }
            _ => Ok(Message { kind, body }),
        })
    })
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut short")
}

/// One attribute; nested ones are the value of their parent.
pub(crate) fn encode(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A device, as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) is_up: bool,
    pub(crate) mtu_bytes: u32,
    pub(crate) address: Vec<u8>,
    pub(crate) kind: String,
    pub(crate) alias: String,
    /// The number of the device that it is a port of; 0 for none.
    pub(crate) master: u32,
    /// What its driver says of it.
    pub(crate) info_data: Vec<u8>,
}

fn read_answer(bytes: &[u8]) -> io::Result<Option<Link>> {
    let answer = messages(bytes).next().ok_or_else(cut_short)??;
    if answer.kind == NLMSG_ERROR {
        return Ok(None);
    }
    let number = |at| Some(u32::from_ne_bytes(piece(answer.body, at)?));
    let mut link = Link {
        index: number(4).ok_or_else(cut_short)?,
        is_up: number(8).ok_or_else(cut_short)? & IFF_UP != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(answer.body.get(LINK_HEADER..).unwrap_or_default()) {
        match kind {
            attribute::MTU => link.mtu_bytes = piece(value, 0).map_or(0, u32::from_ne_bytes),
            attribute::ADDRESS => link.address = value.into(),
            attribute::ALIAS => link.alias = text(value),
            attribute::MASTER => link.master = piece(value, 0).map_or(0, u32::from_ne_bytes),
            attribute::INFO => {
                for (kind, value) in attributes(value) {
                    match kind {
                        attribute::INFO_KIND => link.kind = text(value),
                        attribute::INFO_DATA => link.info_data = value.into(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Some(link))
}

/// `N` bytes of `bytes`, if there are that many from `at` on.
pub(crate) fn piece<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into()
}

/// The attributes in `bytes`, up to the first that is cut short.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(piece(bytes, 0)?));
        let kind = u16::from_ne_bytes(piece(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two upper bits say how the value is written.
        Some((kind & 0x3fff, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written() {
        let bytes =
            [encode(3, b"lo\0"), encode(4, &7_u32.to_ne_bytes()), encode(18, &encode(1, b"tun\0"))]
                .concat();
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read[0], (3, &b"lo\0"[..]));
        assert_eq!(read[1].0, 4);
        assert_eq!(attributes(read[2].1).next(), Some((1, &b"tun\0"[..])));
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn cut_answers_are_errors_or_empty_and_never_panic() {
        let info = encode(attribute::INFO, &encode(attribute::INFO_KIND, b"tun\0"));
        let mut bytes = vec![0; HEADER + LINK_HEADER];
        bytes.extend(info);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..HEADER].copy_from_slice(&header(length, 16, 0));
        for end in 0..bytes.len() {
            drop(read_answer(&bytes[..end]));
        }
        assert_eq!(read_answer(&bytes).unwrap().unwrap().kind, "tun");
        for zeros in 0..64 {
            drop(read_answer(&vec![0; zeros]));
        }
    }

    #[test]
    fn a_refusal_is_the_error_it_names_and_an_acknowledgement_is_none() {
        let answer = |errno: i32| [&header(20, NLMSG_ERROR, 0)[..], &errno.to_ne_bytes()].concat();
        assert_eq!(read_answer(&answer(0)).unwrap(), None);
        assert_eq!(read_answer(&answer(-19)).unwrap_err().raw_os_error(), Some(19));
        assert!(read_answer(&answer(i32::MIN)).is_err());
        let without_errno = header(16, NLMSG_ERROR, 0);
        assert_eq!(read_answer(&without_errno).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn messages_end_at_the_first_that_is_cut_short() {
        let one = [&header(18, 28, 0)[..], &[1, 2, 0, 0]].concat();
        let bytes = [&one[..], &one[..], &one[..17]].concat();
        let read: Vec<_> = messages(&bytes).map(Result::unwrap).collect();
        assert_eq!(read, [Message { kind: 28, body: &[1, 2] }; 2]);
    }

    #[test]
    fn the_loopback_device_is_found() {
        let link = Request::new(Verb::Get, "lo").send().unwrap().unwrap();
        assert_eq!(link.index, 1);
        let absent = Request::new(Verb::Get, "no-such-thing").send();
        assert_eq!(absent.unwrap_err().raw_os_error(), Some(19));
    }
}
