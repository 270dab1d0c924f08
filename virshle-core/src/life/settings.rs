//! Changing what a machine does by itself, with the host and at its own end, and how much of the host it may
//! take.

use std::str::FromStr;

use virshle_template::{Limit, RestartPolicy};

use crate::failure::chain;
use crate::hardware::limits::changed;
use crate::hardware::scope::retune;
use crate::machine::error::MachineError;
use crate::machine::vm::Vm;
use crate::model::change::Change;
use crate::model::definition::Definition;

/// A setting of a machine, which may be changed at any time. `FromStr` reads `key=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// Whether it starts with the host.
    Autostart(bool),
    /// Its place among those; without one it comes last.
    Order(Option<u32>),
    /// How long those of later places wait once it runs, in seconds.
    DelaySeconds(u64),
    /// What happens when it has ended without being asked to.
    Restart(RestartPolicy),
    /// Whether its guest is reset when it hangs; from its next start on.
    Watchdog(bool),
    /// How much of the host it may take; of a machine that runs at once, where systemd supervises it.
    Limit(Limit),
}

/// Why a text is no setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no setting of a machine: {reason}")]
pub struct InvalidSetting {
    /// The text.
    pub text: String,
    /// Why.
    pub reason: String,
}

/// The longest wait between machines that start with the host, in seconds.
const MOST_DELAY: u64 = 3600;

impl FromStr for Setting {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let wrong = |reason: String| InvalidSetting { text: text.to_owned(), reason };
        let (key, value) =
            text.split_once('=').ok_or_else(|| wrong("expected KEY=VALUE".into()))?;
        let flag = || match value {
            "true" | "on" | "yes" => Ok(true),
            "false" | "off" | "no" => Ok(false),
            _ => Err(wrong("expected true or false".into())),
        };
        match key {
            "autostart" => Ok(Self::Autostart(flag()?)),
            "watchdog" => Ok(Self::Watchdog(flag()?)),
            "restart" => {
                let policy = value.parse::<RestartPolicy>();
                policy.map(Self::Restart).map_err(|error| wrong(error.to_string()))
            }
            "order" if value.is_empty() => Ok(Self::Order(None)),
            "order" => {
                let number = value.parse().map_err(|_| wrong("expected a whole number".into()))?;
                Ok(Self::Order(Some(number)))
            }
            "delay" => value
                .strip_suffix('s')
                .unwrap_or(value)
                .parse()
                .ok()
                .filter(|seconds| *seconds <= MOST_DELAY)
                .map(Self::DelaySeconds)
                .ok_or_else(|| wrong(format!("expected seconds, at most {MOST_DELAY}"))),
            _ => match Limit::parse(key, value) {
                Some(limit) => limit.map(Self::Limit).map_err(wrong),
                None => Err(wrong(format!(
                    "expected one of autostart, order, delay, restart, watchdog, {} before the =",
                    Limit::KEYS.join(", ")
                ))),
            },
        }
    }
}

impl Setting {
    fn apply(&self, definition: &mut Definition) {
        match self {
            Self::Autostart(on) => definition.autostart = *on,
            Self::Order(order) => definition.order = *order,
            Self::DelaySeconds(seconds) => definition.delay_seconds = *seconds,
            Self::Restart(policy) => definition.restart = *policy,
            Self::Watchdog(on) => definition.watchdog = *on,
            Self::Limit(limit) => definition.limits.set(limit),
        }
    }
}

impl Vm {
    /// Changes settings of the machine, whether it runs or not: all of them, or none. The value itself
    /// keeps what it was read with. A limit of a machine that runs is that of its scope at once; what has
    /// to wait for its next start is logged as a warning.
    ///
    /// # Errors
    ///
    /// If the definition can't be written: then it is as it was.
    pub fn set(&self, settings: &[Setting]) -> Result<Change, MachineError> {
        set(self, settings)
    }
}

fn set(vm: &Vm, settings: &[Setting]) -> Result<Change, MachineError> {
    let _lock = vm.lock()?;
    let before = vm.node().store().read(vm.definition().uuid)?;
    let mut definition = before.clone();
    for setting in settings {
        setting.apply(&mut definition);
    }
    if definition == before {
        return Ok(Change::Unchanged);
    }
    vm.node().store().rewrite(&definition)?;
    if let Some(pid) = vm.vmm()?.map(|vmm| vmm.pid()) {
        apply_now(vm, pid, &before, &definition);
    }
    Ok(Change::Done)
}

/// Applies to a machine that runs what can be, and warns of the rest.
fn apply_now(vm: &Vm, pid: u32, before: &Definition, now: &Definition) {
    let later = |what: &str, why: String| {
        tracing::warn!(vm = %vm.name(), "{what} holds from its next start on: {why}");
    };
    if before.watchdog != now.watchdog {
        later("watchdog", "a machine gets its devices when it starts".into());
    }
    let (properties, too_little) = changed(before, now, pid);
    if let Some(taken) = too_little {
        let taken = taken >> 20;
        later("memory_overhead", format!("it takes {taken} MiB now, and would be killed"));
    }
    if properties.is_empty() {
        return;
    }
    if let Err(error) = retune(vm, pid, &properties) {
        later("the limit", chain(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_a_value() {
        for (text, expected) in [
            ("autostart=on", Setting::Autostart(true)),
            ("autostart=false", Setting::Autostart(false)),
            ("order=3", Setting::Order(Some(3))),
            ("order=", Setting::Order(None)),
            ("delay=10s", Setting::DelaySeconds(10)),
            ("restart=on-failure", Setting::Restart(RestartPolicy::OnFailure)),
            ("watchdog=true", Setting::Watchdog(true)),
            ("cpu_weight=7", Setting::Limit(Limit::CpuWeight(Some(7)))),
            ("cpu_limit=", Setting::Limit(Limit::CpuLimit(None))),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        for text in [
            "",
            "autostart",
            "autostart=",
            "order=-1",
            "delay=3601",
            "restart=x",
            "vcpus=2",
            "pids=x",
        ] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }
}
