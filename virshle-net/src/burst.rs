//! How much may come at once of what is kept to a rate.

/// The longest frame that a guest sends, with its offloads: 64 KiB, and what is around it.
pub(crate) const MOST_FRAME: u32 = 80 << 10;

/// The bytes that may come at once: 100 ms of the rate, and four frames with their offloads at least. A policer
/// drops what is beyond, and TCP takes each drop for a jam: with a fifth of this it got a fifth of the rate.
pub(crate) fn burst_bytes(bytes_per_second: u64) -> u64 {
    (bytes_per_second / 10).max(4 * u64::from(MOST_FRAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_a_tenth_of_a_second_and_never_less_than_four_long_frames() {
        assert_eq!(burst_bytes(125_000_000), 12_500_000);
        assert_eq!(burst_bytes(1), 4 * u64::from(MOST_FRAME));
        assert_eq!(burst_bytes(u64::MAX), u64::MAX / 10);
    }
}
