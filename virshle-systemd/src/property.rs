//! A unit's settings, as the manager takes them.

use std::time::Duration;

use crate::wire::Writer;

/// A setting of a unit.
///
/// # References
///
/// systemd.directives(7), and `org.freedesktop.systemd1(5)` for their types.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is a part of a call"]
pub struct Property {
    pub(crate) name: &'static str,
    value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Flag(bool),
    Number(u64),
    Text(String),
    Texts(Vec<String>),
    Processes(Vec<u32>),
    Mask(Vec<u8>),
    Timers(&'static str, u64),
}

impl Property {
    /// A setting that is on or off.
    pub fn flag(name: &'static str, value: bool) -> Self {
        Self { name, value: Value::Flag(value) }
    }

    /// A number: an amount in bytes, a weight, a limit.
    pub fn number(name: &'static str, value: u64) -> Self {
        Self { name, value: Value::Number(value) }
    }

    /// A text, or the name of a unit.
    pub fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self { name, value: Value::Text(value.into()) }
    }

    /// A list of texts, or of the names of units: `Before`, `OnSuccess`.
    pub fn texts<T: Into<String>>(name: &'static str, values: impl IntoIterator<Item = T>) -> Self {
        Self { name, value: Value::Texts(values.into_iter().map(Into::into).collect()) }
    }

    /// `PIDs`: the processes that a scope takes.
    pub fn processes(pids: &[u32]) -> Self {
        Self { name: "PIDs", value: Value::Processes(pids.to_vec()) }
    }

    /// A set of CPUs or of memory nodes by their numbers: `AllowedCPUs`.
    pub fn set(name: &'static str, numbers: impl IntoIterator<Item = u16>) -> Self {
        let mut mask = Vec::new();
        for number in numbers {
            let byte = usize::from(number / 8);
            if mask.len() <= byte {
                mask.resize(byte + 1, 0);
            }
            if let Some(byte) = mask.get_mut(byte) {
                *byte |= 1 << (number % 8);
            }
        }
        Self { name, value: Value::Mask(mask) }
    }

    /// `TimersMonotonic`: a timer that elapses once, so long after it was started.
    pub fn once_after(time: Duration) -> Self {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self { name: "TimersMonotonic", value: Value::Timers("OnActiveSec", microseconds) }
    }

    /// Writes it as `(sv)`.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.align(8);
        writer.text(self.name);
        match &self.value {
            Value::Flag(flag) => {
                writer.signature("b");
                writer.number32(u32::from(*flag));
            }
            Value::Number(number) => {
                writer.signature("t");
                writer.number64(*number);
            }
            Value::Text(text) => {
                writer.signature("s");
                writer.text(text);
            }
            Value::Texts(texts) => {
                writer.signature("as");
                writer.array(4, |writer| texts.iter().for_each(|text| writer.text(text)));
            }
            Value::Processes(pids) => {
                writer.signature("au");
                writer.array(4, |writer| pids.iter().for_each(|pid| writer.number32(*pid)));
            }
            Value::Mask(mask) => {
                writer.signature("ay");
                writer.array(1, |writer| mask.iter().for_each(|byte| writer.byte(*byte)));
            }
            Value::Timers(base, time) => {
                writer.signature("a(st)");
                writer.array(8, |writer| {
                    writer.align(8);
                    writer.text(base);
                    writer.number64(*time);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_cpus_is_a_mask_of_bits() {
        let mask = |numbers: &[u16]| match Property::set("AllowedCPUs", numbers.to_vec()).value {
            Value::Mask(mask) => mask,
            other => panic!("{other:?}"),
        };
        assert_eq!(mask(&[]), []);
        assert_eq!(mask(&[0, 3]), [0b1001]);
        assert_eq!(mask(&[8, 1]), [0b10, 1]);
        assert_eq!(mask(&[u16::MAX]).len(), 8192);
    }
}
