//! Meters (7.3.4.4): how much of what flows pass may pass in a second.

/// `OFPMC_…`
const ADD: u16 = 0;
const DELETE: u16 = 2;
/// Thousands of bits, and a burst beside the rate.
const KBITS_AND_BURST: u16 = 1 | 4;
/// A band that drops.
const DROP: u16 = 1;
const BAND: u16 = 16;

/// A meter: what is beyond its rate is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Meter {
    /// Its number on the bridge.
    pub number: u32,
    /// How many thousands of bits pass in a second.
    pub kbits: u32,
    /// How many may pass at once.
    pub burst_kbits: u32,
}

impl Meter {
    /// The body of the message that adds it.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = head(ADD, self.number);
        bytes.extend(DROP.to_be_bytes());
        bytes.extend(BAND.to_be_bytes());
        bytes.extend(self.kbits.to_be_bytes());
        bytes.extend(self.burst_kbits.to_be_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    /// The body of the message that deletes the meter of that number, with the flows that pass it.
    pub(crate) fn encode_delete(number: u32) -> Vec<u8> {
        head(DELETE, number)
    }
}

fn head(command: u16, number: u32) -> Vec<u8> {
    let mut bytes = [command.to_be_bytes(), KBITS_AND_BURST.to_be_bytes()].concat();
    bytes.extend(number.to_be_bytes());
    bytes
}
