//! MAC addresses, as people write them.

use crate::section::{Placed, Section};
use crate::suggestion::quoted;

/// The address at `key`, in lower case: of one interface, and six bytes in hexadecimal with colons
/// between them.
pub(crate) fn read(section: &Section<'_>, key: &'static str) -> Option<Placed<String>> {
    let text = section.string(key)?;
    let Some(bytes) = bytes(text.value) else {
        let message = format!("{} is not a MAC address", quoted(text.value));
        section.wrong(text.span, message, "expected one such as 52:54:00:12:34:56");
        return None;
    };
    // IEEE 802-2014, 8.2: the lowest bit of the first byte marks a group.
    if bytes[0] & 1 == 1 {
        let message = format!("{} is a multicast address", quoted(text.value));
        section.wrong(text.span, message, "the first byte of an interface's address is even");
        return None;
    }
    if bytes == [0; 6] {
        let message = format!("{} is not a unicast MAC address", quoted(text.value));
        section.wrong(text.span, message, "expected one such as 52:54:00:12:34:56");
        return None;
    }
    Some(Placed { value: text.value.to_ascii_lowercase(), span: text.span })
}

fn bytes(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next()?;
        if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn six_bytes_with_colons_are_taken_in_either_case() {
        let mac = testing::read("mac = '52:54:00:AB:cd:01'", |section| read(section, "mac"));
        assert_eq!(mac.unwrap().value, "52:54:00:ab:cd:01");
    }

    #[test]
    fn what_is_no_address_of_an_interface_is_refused() {
        for (mac, message) in [
            ("", "\"\" is not a MAC address"),
            ("52:54:00:ab:cd", "\"52:54:00:ab:cd\" is not a MAC address"),
            ("52:54:00:ab:cd:01:02", "\"52:54:00:ab:cd:01:02\" is not a MAC address"),
            ("52-54-00-ab-cd-01", "\"52-54-00-ab-cd-01\" is not a MAC address"),
            ("52:54:00:ab:cd:0g", "\"52:54:00:ab:cd:0g\" is not a MAC address"),
            ("52:54:00:ab:cd:+1", "\"52:54:00:ab:cd:+1\" is not a MAC address"),
            ("01:00:5e:00:00:01", "\"01:00:5e:00:00:01\" is a multicast address"),
            ("ff:ff:ff:ff:ff:ff", "\"ff:ff:ff:ff:ff:ff\" is a multicast address"),
            ("00:00:00:00:00:00", "\"00:00:00:00:00:00\" is not a unicast MAC address"),
        ] {
            let text = format!("mac = '{mac}'");
            assert_eq!(testing::mistakes(&text, |section| read(section, "mac")), [message]);
        }
    }
}
