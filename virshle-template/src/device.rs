//! Names of network devices of the host.

use crate::section::Section;
use crate::suggestion::quoted;

/// `IFNAMSIZ` of `linux/if.h` less its NUL: a bridge has a device of its name in the kernel.
const MAX_LEN: usize = 15;

/// Why the kernel refuses, cuts or expands `name` (`dev_valid_name`, `dev_alloc_name`).
fn reason(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".into());
    }
    if name.len() > MAX_LEN {
        return Some(format!("it has {} bytes, and {MAX_LEN} is the most", name.len()));
    }
    if name == "." || name == ".." {
        return Some("it is the name of a directory".into());
    }
    let odd =
        |character: &char| !character.is_ascii_graphic() || matches!(character, '/' | ':' | '%');
    name.chars().find(odd).map(|odd| format!("it has {odd:?}"))
}

/// The name of a network device at `key`.
pub(crate) fn read(section: &Section<'_>, key: &'static str) -> Option<String> {
    let name = section.string(key)?;
    if let Some(reason) = reason(name.value) {
        let message = format!("{} cannot be a network device: {reason}", quoted(name.value));
        let help = "expected 1 to 15 letters, digits and signs of ASCII, without '/', ':' and '%'";
        section.wrong(name.span, message, help);
        return None;
    }
    Some(name.value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_kernel_takes_is_taken() {
        for name in ["br0", "enp0s31f6.123456"[..15].as_ref(), "vs-0", "a", "eth0.12@x"] {
            assert_eq!(reason(name), None, "{name:?}");
        }
        for name in ["", ".", "..", "a/b", "a:1", "tap%d", "a b", "ü", "a\n", "sixteen-letters-"] {
            assert!(reason(name).is_some(), "{name:?}");
        }
    }
}
