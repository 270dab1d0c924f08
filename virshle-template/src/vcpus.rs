//! How many vCPUs a machine has.

use serde::Serialize;
use toml::de::DeValue;

use crate::section::{Placed, Section};

/// How many vCPUs a machine has: `vcpu = 2`, or `vcpu = { boot = 2, max = 8 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Vcpus {
    /// At boot; at least 1.
    pub boot: u32,
    /// That can be reached by hotplug; at least `boot`.
    pub max: u32,
}

/// The most vCPUs that cloud-hypervisor takes: on x86_64 as many as KVM, else as many as fit in a
/// byte.
const MOST: u64 = if cfg!(target_arch = "x86_64") { 8192 } else { 255 };

/// The most queues of one device: each is a thread of the VMM.
const MOST_QUEUES: u64 = 64;

impl Vcpus {
    /// The queues of a device: no more than `boot` vCPUs, where they are known, can serve.
    pub(crate) fn read_queues(section: &Section<'_>, boot: Option<u32>) -> Option<u16> {
        let queues = section.integer("queues", 1, MOST_QUEUES)?;
        if let Some(boot) = boot.filter(|boot| queues.value > u64::from(*boot)) {
            let message = format!("{} queues for {boot} vCPUs", queues.value);
            let help = "a queue needs a vCPU that serves it; unset there is one for each, up to 8";
            section.wrong(queues.span, message, help);
            return None;
        }
        u16::try_from(queues.value).ok()
    }

    pub(crate) fn read(template: &Section<'_>) -> Option<Self> {
        let value = template.require("vcpu", "vcpu = 2")?;
        let DeValue::Table(_) = value.get_ref() else {
            let boot = narrow(&template.integer_of("vcpu", value, 1, MOST)?)?;
            return Some(Self { boot, max: boot });
        };
        let section = template.section("vcpu", "template.vm.vcpu")?;
        section.require("boot", "boot = 2");
        let boot = section.integer("boot", 1, MOST);
        let max = section.integer("max", 1, MOST);
        if let (Some(boot), Some(max)) = (&boot, &max) {
            if max.value < boot.value {
                let help = format!("expected at least {}, as many as at boot", boot.value);
                section.wrong(max.span.clone(), "the most vCPUs are fewer than at boot", &help);
            }
        }
        section.finish();
        let boot = narrow(&boot?)?;
        Some(Self { boot, max: max.as_ref().and_then(narrow).unwrap_or(boot) })
    }
}

fn narrow(number: &Placed<u64>) -> Option<u32> {
    u32::try_from(number.value).ok()
}

#[cfg(test)]
mod tests {
    use super::Vcpus;
    use crate::testing::{mistakes, read};

    #[test]
    fn a_number_is_for_boot_and_for_ever() {
        assert_eq!(read("vcpu = 0x2", Vcpus::read), Some(Vcpus { boot: 2, max: 2 }));
        let most = read("vcpu = { boot = 2, max = 8 }", Vcpus::read);
        assert_eq!(most, Some(Vcpus { boot: 2, max: 8 }));
        assert_eq!(read("vcpu = { boot = 2 }", Vcpus::read), Some(Vcpus { boot: 2, max: 2 }));
    }

    #[test]
    fn what_is_no_number_of_vcpus_is_refused() {
        for (text, message) in [
            ("", "[test] has no \"vcpu\""),
            ("vcpu = 0", "\"vcpu\" is out of range"),
            ("vcpu = -1", "\"vcpu\" is out of range"),
            ("vcpu = 99999999999999999999999", "\"vcpu\" is out of range"),
            ("vcpu = 1.5", "\"vcpu\" is a fraction"),
            ("vcpu = '2'", "\"vcpu\" is a text"),
            ("vcpu = [2]", "\"vcpu\" is a list"),
            ("vcpu = { max = 2 }", "[template.vm.vcpu] has no \"boot\""),
            ("vcpu = { boot = 0 }", "\"boot\" is out of range"),
            ("vcpu = { boot = 4, max = 2 }", "the most vCPUs are fewer than at boot"),
            ("vcpu = { boots = 4 }", "unknown key \"boots\", did you mean \"boot\"?"),
        ] {
            assert_eq!(mistakes(text, Vcpus::read), [message], "{text}");
        }
    }
}
