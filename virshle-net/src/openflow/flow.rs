//! Flows (7.3.4.1), and what a switch says of them (7.3.5.2).

use crate::openflow::Match;
use crate::openflow::matching::register;
use crate::openflow::message::piece;

/// "Any" of a port and of a group.
const ANY: u32 = u32::MAX;
/// No packet waits in the switch for this flow.
const NO_BUFFER: u32 = u32::MAX;
/// `struct ofp_flow_stats` up to its match.
const STATS: usize = 48;

const ADD: u8 = 0;
const DELETE: u8 = 3;
const APPLY_ACTIONS: u16 = 4;
const METER: u16 = 6;
const SET_FIELD: u16 = 25;
const VENDOR: u16 = 0xffff;
/// Open vSwitch's own actions, under the number of Nicira.
const NICIRA: u32 = 0x0000_2320;
const RESUBMIT_TABLE: u16 = 14;
/// The port that the packet came in by.
const IN_PORT: u16 = 0xfff8;

/// A flow of table 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Flow {
    cookie: u64,
    priority: u16,
    matching: Match,
    meter: Option<u32>,
    actions: Vec<u8>,
}

impl Flow {
    /// A flow that drops what it matches.
    pub fn drop(cookie: u64, priority: u16, matching: Match) -> Self {
        Self { cookie, priority, matching, meter: None, actions: Vec::new() }
    }

    /// A flow that sets register `number` to `value` and looks the packet up once more in table 0: as
    /// if this flow were not there, if it matches another value of the register.
    pub fn mark_and_resubmit(
        cookie: u64,
        priority: u16,
        matching: Match,
        (number, value): (u8, u32),
    ) -> Self {
        let field = register(number, value);
        let mut actions = [SET_FIELD.to_be_bytes(), 16_u16.to_be_bytes()].concat();
        actions.extend(field);
        actions.resize(16, 0);
        for word in [VENDOR, 16] {
            actions.extend(word.to_be_bytes());
        }
        actions.extend(NICIRA.to_be_bytes());
        for word in [RESUBMIT_TABLE, IN_PORT] {
            actions.extend(word.to_be_bytes());
        }
        // The table, and padding.
        actions.extend([0; 4]);
        Self { cookie, priority, matching, meter: None, actions }
    }

    /// What matches has to pass this meter first.
    pub fn through_meter(mut self, number: u32) -> Self {
        self.meter = Some(number);
        self
    }

    /// Another cookie, by which it is found again.
    pub(crate) fn with_cookie(mut self, cookie: u64) -> Self {
        self.cookie = cookie;
        self
    }

    /// The body of the message that adds it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = flow_mod(ADD, (self.cookie, 0), self.priority, &self.matching);
        if let Some(meter) = self.meter {
            bytes.extend(METER.to_be_bytes());
            bytes.extend(8_u16.to_be_bytes());
            bytes.extend(meter.to_be_bytes());
        }
        if !self.actions.is_empty() {
            let length = u16::try_from(8 + self.actions.len()).unwrap_or(u16::MAX);
            bytes.extend(APPLY_ACTIONS.to_be_bytes());
            bytes.extend(length.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(&self.actions);
        }
        bytes
    }
}

/// The body of the message that deletes every flow whose cookie has `value` under `mask`.
pub(crate) fn encode_delete(value: u64, mask: u64) -> Vec<u8> {
    flow_mod(DELETE, (value, mask), 0, &Match::any())
}

fn flow_mod(command: u8, (cookie, mask): (u64, u64), priority: u16, matching: &Match) -> Vec<u8> {
    let mut bytes = [cookie.to_be_bytes(), mask.to_be_bytes()].concat();
    // Table 0; no timeouts.
    bytes.extend([0, command, 0, 0, 0, 0]);
    bytes.extend(priority.to_be_bytes());
    for number in [NO_BUFFER, ANY, ANY] {
        bytes.extend(number.to_be_bytes());
    }
    // No flags, no importance.
    bytes.extend([0; 4]);
    bytes.extend(matching.encode());
    bytes
}

/// A flow that the switch has, and its counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowStats {
    /// Its cookie.
    pub cookie: u64,
    /// Its priority.
    pub priority: u16,
    /// The port that it matches, if it matches one.
    pub in_port: Option<u32>,
    /// Whether it drops what it matches.
    pub drops: bool,
    /// The packets that met it.
    pub packets: u64,
}

impl FlowStats {
    /// The body of the question for every flow whose cookie has `value` under `mask`.
    pub(crate) fn question(value: u64, mask: u64) -> Vec<u8> {
        // Of flows; no more parts follow. Table 0.
        let mut bytes = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for number in [ANY, ANY, 0] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(value.to_be_bytes());
        bytes.extend(mask.to_be_bytes());
        bytes.extend(Match::any().encode());
        bytes
    }

    /// The flows in one part of the answer, and whether another part follows.
    pub(crate) fn read(body: &[u8]) -> Result<(Vec<Self>, bool), String> {
        let cut = || "an answer about flows that is cut short".to_owned();
        let kind = piece(body, 0).map(u16::from_be_bytes).ok_or_else(cut)?;
        let flags = piece(body, 2).map(u16::from_be_bytes).ok_or_else(cut)?;
        if kind != 1 {
            return Err(format!("an answer of kind {kind} to a question about flows"));
        }
        let mut rest = body.get(8..).ok_or_else(cut)?;
        let mut flows = Vec::new();
        while !rest.is_empty() {
            let length = piece(rest, 0).map(u16::from_be_bytes).ok_or_else(cut)?;
            let entry = rest.get(..usize::from(length)).ok_or_else(cut)?;
            flows.push(Self::read_one(entry).ok_or_else(cut)?);
            rest = &rest[entry.len()..];
        }
        Ok((flows, flags & 1 != 0))
    }

    fn read_one(entry: &[u8]) -> Option<Self> {
        let matching = entry.get(STATS..)?;
        let match_length = usize::from(u16::from_be_bytes(piece(matching, 2)?));
        let instructions = matching.get(match_length.next_multiple_of(8)..)?;
        Some(Self {
            cookie: u64::from_be_bytes(piece(entry, 24)?),
            priority: u16::from_be_bytes(piece(entry, 12)?),
            in_port: Match::in_port_of(matching),
            drops: instructions.is_empty(),
            packets: u64::from_be_bytes(piece(entry, 32)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Vec<u8> {
        let mut entry = vec![0; STATS];
        entry[12..14].copy_from_slice(&100_u16.to_be_bytes());
        entry[24..32].copy_from_slice(&7_u64.to_be_bytes());
        entry[32..40].copy_from_slice(&9_u64.to_be_bytes());
        entry.extend(Match::any().in_port(3).encode());
        let length = u16::try_from(entry.len()).unwrap();
        entry[..2].copy_from_slice(&length.to_be_bytes());
        [&[0, 1, 0, 1, 0, 0, 0, 0], &entry[..], &entry[..]].concat()
    }

    #[test]
    fn statistics_are_read() {
        let (flows, more) = FlowStats::read(&answer()).unwrap();
        let expected =
            FlowStats { cookie: 7, priority: 100, in_port: Some(3), drops: true, packets: 9 };
        assert_eq!((flows, more), (vec![expected; 2], true));
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error_and_never_a_panic() {
        let whole = answer();
        let one = 8 + (whole.len() - 8) / 2;
        for end in 0..whole.len() {
            assert_eq!(FlowStats::read(&whole[..end]).is_ok(), end == 8 || end == one, "{end}");
        }
    }
}
