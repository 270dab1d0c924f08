//! What a hijacked thread asks of the kernel by io_uring, past every filter of system calls.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Outcome, Puppet, number, unix_address};

/// How many requests a ring of this file has room for.
const ENTRIES: u64 = 4;
/// The size of a request (`struct io_uring_sqe`).
const REQUEST: u64 = 64;
/// Where the requests are in the file of a ring.
const REQUESTS: u64 = 0x1000_0000;

/// Operations, as `linux/io_uring.h` numbers them.
const OP_CONNECT: u8 = 16;
const OP_SOCKET: u8 = 45;

/// A ring that the thread has created and mapped.
struct Ring {
    descriptor: u64,
    rings: u64,
    length: u64,
    requests: u64,
    /// Offsets in `rings`: the tail of what is submitted, the indices of that, what is completed.
    tail: u64,
    indices: u64,
    completed: u64,
    used: u32,
}

/// A descriptor as a request has it.
fn descriptor(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A request: its operation, descriptor, offset, address and length.
struct Request(u8, u32, u64, u64, u32);

impl Puppet<'_> {
    pub(super) fn connect_by_ring(&mut self, path: &Path) -> io::Result<Result<u64, Outcome>> {
        let address = unix_address(path);
        self.with_socket(number::STREAM, |this, socket| {
            let at = this.write(&address, 0)?;
            this.with_ring(|this, ring| {
                let length = address.len() as u64;
                this.request(ring, &Request(OP_CONNECT, descriptor(socket), length, at, 0))
            })
        })
    }

    pub(super) fn udp_by_ring(&mut self) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        // `struct sockaddr_in`: port 9 of 127.0.0.1.
        let at = self.write(&[2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 0)?;
        self.with_ring(|this, ring| {
            let socket = match this.request(ring, &Request(OP_SOCKET, 2, number::DATAGRAM, 0, 0))? {
                Ok(socket) => socket,
                refused => return Ok(refused),
            };
            let result = this.request(ring, &Request(OP_CONNECT, descriptor(socket), 16, at, 0));
            this.make(CLOSE, &[socket])?.ok();
            result
        })
    }

    fn with_ring(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Ring) -> io::Result<Result<u64, Outcome>>,
    ) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        let mut parameters = [0_u8; 120];
        let at = self.write(&parameters, 1024)?;
        let descriptor = match self.make(RING_SETUP, &[ENTRIES, at])? {
            Ok(descriptor) => descriptor,
            refused => return Ok(refused),
        };
        self.memory.read_exact_at(&mut parameters, at)?;
        let word = |at: usize| {
            let bytes = [0, 1, 2, 3].map(|byte| parameters[at + byte]);
            u64::from(u32::from_ne_bytes(bytes))
        };
        // Both rings are in one mapping: what is completed is the larger part.
        let completed = word(80 + 20);
        let length = (completed + word(4) * 16).next_multiple_of(4096);
        let mapping = |offset, length| [0, length, 3, 0x8001, descriptor, offset];
        let rings = self.make(MMAP, &mapping(0, length))?;
        let requests = self.make(MMAP, &mapping(REQUESTS, ENTRIES * REQUEST))?;
        let result = match (rings, requests) {
            (Ok(rings), Ok(requests)) => {
                let (tail, indices) = (rings + word(40 + 4), rings + word(40 + 24));
                let completed = rings + completed;
                let mut ring =
                    Ring { descriptor, rings, length, requests, tail, indices, completed, used: 0 };
                let result = work(self, &mut ring);
                self.make(MUNMAP, &[ring.rings, ring.length])?.ok();
                self.make(MUNMAP, &[ring.requests, ENTRIES * REQUEST])?.ok();
                result
            }
            (refused, other) => Ok(refused.and(other)),
        };
        self.make(CLOSE, &[descriptor])?.ok();
        result
    }

    /// Makes a request, and waits for its result.
    fn request(&mut self, ring: &mut Ring, request: &Request) -> io::Result<Result<u64, Outcome>> {
        use crate::sys::tracing::call::*;
        let index = ring.used;
        let Request(operation, descriptor, offset, address, length) = request;
        let mut bytes = vec![*operation, 0, 0, 0];
        bytes.extend(descriptor.to_ne_bytes());
        bytes.extend([offset.to_ne_bytes(), address.to_ne_bytes()].concat());
        bytes.extend(length.to_ne_bytes());
        bytes.resize(64, 0);
        self.memory.write_all_at(&bytes, ring.requests + u64::from(index) * REQUEST)?;
        self.memory.write_all_at(&index.to_ne_bytes(), ring.indices + u64::from(index) * 4)?;
        ring.used += 1;
        self.memory.write_all_at(&ring.used.to_ne_bytes(), ring.tail)?;
        // Submit one, wait for one.
        if let Err(refused) = self.make(RING_ENTER, &[ring.descriptor, 1, 1, 1, 0, 0])? {
            return Ok(Err(refused));
        }
        let mut result = [0; 4];
        self.memory.read_exact_at(&mut result, ring.completed + u64::from(index) * 16 + 8)?;
        let result = i32::from_ne_bytes(result);
        Ok(u64::try_from(result).map_err(|_| Outcome::Refused(-result)))
    }
}
