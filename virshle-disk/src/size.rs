//! Shows sizes in units that people read.

use std::fmt;

/// A number of bytes in the largest unit of 1024 that it fills, to a tenth; one that this would
/// round is followed by its bytes, for two sizes may differ by those alone.
pub(crate) struct Size(pub(crate) u64);

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let filled = (1..=UNITS.len()).rev().find(|power| bytes >> (10 * power) > 0);
        let Some(power) = filled else { return write!(formatter, "{bytes} B") };
        let (unit, one) = (UNITS[power - 1], 1_u128 << (10 * power));
        let tenths = u128::from(bytes) * 10;
        if tenths % (10 * one) == 0 {
            write!(formatter, "{} {unit}", tenths / one / 10)
        } else if tenths % one == 0 {
            write!(formatter, "{}.{} {unit}", tenths / one / 10, tenths / one % 10)
        } else {
            let tenths = tenths / one;
            write!(formatter, "{}.{} {unit} ({bytes} bytes)", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_displayed_in_their_unit_and_exactly() {
        let shown = |bytes: u64| Size(bytes).to_string();
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1 << 20), "1 MiB");
        assert_eq!(shown(3 << 29), "1.5 GiB");
        assert_eq!(shown((1 << 30) + 1), "1.0 GiB (1073741825 bytes)");
        assert_eq!(shown(u64::MAX), "15.9 EiB (18446744073709551615 bytes)");
    }
}
