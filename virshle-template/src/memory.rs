//! How much memory a machine has.

use serde::Serialize;
use toml::de::DeValue;

use crate::ByteSize;
use crate::section::{Placed, Section};

/// How much memory a machine has: `vram = 2`, or
/// `vram = { size = "1GiB", max = "4GiB", hugepages = false }`.
///
/// A bare number is GiB, also in quotes and also a fraction: `0.5` is 512 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Memory {
    /// At boot: 16 MiB to 64 TiB, in whole pages.
    pub size: ByteSize,
    /// That can be reached by hotplug, in steps of 128 MiB from `size`.
    pub max: Option<ByteSize>,
    /// Made of the host's hugepages.
    pub hugepages: bool,
}

/// Less is taken for a slip of the unit: no kernel starts in it.
const LEAST: u64 = 16 << 20;
/// What 46 bits address, as many as cloud-hypervisor gives a guest (`max_phys_bits`).
const MOST: u64 = 1 << 46;
/// The smallest page, and the smallest hugepage, of both architectures.
const PAGE: u64 = 4 << 10;
const HUGEPAGE: u64 = 2 << 20;
/// What memory is plugged in by (cloud-hypervisor, `VIRTIO_MEM_ALIGN_SIZE`).
const STEP: u64 = 128 << 20;

impl Memory {
    pub(crate) fn read(template: &Section<'_>) -> Option<Self> {
        let value = template.require("vram", "vram = 2 for 2 GiB, or vram = \"512MiB\"")?;
        let DeValue::Table(_) = value.get_ref() else {
            let size = template.size_or_gib("vram", value)?;
            check(template, &size, PAGE);
            return Some(Self { size: size.value, max: None, hugepages: false });
        };
        let section = template.section("vram", "template.vm.vram")?;
        let hugepages = section.boolean("hugepages").unwrap_or(false);
        let page = if hugepages { HUGEPAGE } else { PAGE };
        let size = section.require("size", "size = \"1GiB\"");
        let size = size.and_then(|value| section.size_or_gib("size", value));
        let max = section.get("max").and_then(|value| section.size_or_gib("max", value));
        if let Some(size) = &size {
            check(&section, size, page);
        }
        if let (Some(size), Some(max)) = (&size, &max) {
            check_max(&section, size.value, max);
        }
        section.finish();
        Some(Self { size: size?.value, max: max.map(|max| max.value), hugepages })
    }
}

fn check(section: &Section<'_>, size: &Placed<ByteSize>, page: u64) {
    let bytes = size.value.bytes();
    if !(LEAST..=MOST).contains(&bytes) {
        let message = format!("{} is no size of a memory", size.value);
        section.wrong(size.span.clone(), message, "expected 16 MiB to 64 TiB");
    } else if bytes % page != 0 {
        let page = ByteSize::from_bytes(page);
        let message = format!("{} is not a multiple of the page size", size.value);
        section.wrong(size.span.clone(), message, &format!("expected a multiple of {page}"));
    }
}

fn check_max(section: &Section<'_>, size: ByteSize, max: &Placed<ByteSize>) {
    let (span, most) = (max.span.clone(), ByteSize::from_bytes(MOST));
    if max.value < size {
        let help = format!("expected at least {size}, as much as at boot");
        section.wrong(span, "the most memory is less than at boot", &help);
    } else if max.value > most {
        let message = format!("{} is no size of a memory", max.value);
        section.wrong(span, message, &format!("expected at most {most}"));
    } else if (max.value.bytes() - size.bytes()) % STEP != 0 {
        let help = format!("expected {size} and a multiple of {}", ByteSize::from_bytes(STEP));
        section.wrong(span, "the most memory can't be reached in whole steps", &help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{mistakes, read};

    #[test]
    fn a_bare_number_is_gib() {
        for (text, bytes) in [
            ("2", 2 << 30),
            ("0x2", 2 << 30),
            ("+2", 2 << 30),
            ("0.5", 512 << 20),
            ("'2'", 2 << 30),
            ("'1.5'", 3 << 29),
            ("'2G'", 2 << 30),
            ("'512MiB'", 512 << 20),
        ] {
            let memory = read(&format!("vram = {text}"), Memory::read).unwrap();
            assert_eq!(memory.size.bytes(), bytes, "{text}");
            assert_eq!((memory.max, memory.hugepages), (None, false));
        }
        let memory = read("vram = { size = '1G', max = 2, hugepages = true }", Memory::read);
        let (size, max) = (ByteSize::from_bytes(1 << 30), Some(ByteSize::from_bytes(2 << 30)));
        assert_eq!(memory, Some(Memory { size, max, hugepages: true }));
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        for (text, message) in [
            ("", "[test] has no \"vram\""),
            ("vram = 0", "0 B is no size of a memory"),
            ("vram = '1M'", "1 MiB is no size of a memory"),
            ("vram = 65537", "65537 GiB is no size of a memory"),
            ("vram = -1", "\"-1GiB\" is not a size: it does not begin with a number"),
            ("vram = ''", "\"\" is not a size: it does not begin with a number"),
            ("vram = 1e3", "\"e3GiB\" is not a unit of size"),
            ("vram = nan", "\"nanGiB\" is not a size: it does not begin with a number"),
            ("vram = 0.3", "\"0.3GiB\" does not come to whole bytes"),
            ("vram = '100000001B'", "100000001 B is not a multiple of the page size"),
            (
                "vram = 99999999999999999999",
                "\"99999999999999999999GiB\" is more than can be counted",
            ),
            ("vram = true", "\"vram\" is true or false"),
            ("vram = {}", "[template.vm.vram] has no \"size\""),
            ("vram = { size = '2G', max = '1G' }", "the most memory is less than at boot"),
            ("vram = { size = '2G', max = '100T' }", "100 TiB is no size of a memory"),
            ("vram = { size = '1G', max = '1.1M' }", "\"1.1M\" does not come to whole bytes"),
            (
                "vram = { size = '1G', max = '1025M' }",
                "the most memory can't be reached in whole steps",
            ),
            (
                "vram = { size = '1025M', hugepages = true }",
                "1025 MiB is not a multiple of the page size",
            ),
            ("vram = { size = 1, hugepages = 1 }", "\"hugepages\" is a whole number"),
        ] {
            assert_eq!(mistakes(text, Memory::read), [message], "{text}");
        }
    }
}
