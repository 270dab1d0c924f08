//! How this host asks for the machines' names: by systemd-resolved, a domain of one link.

use std::path::Path;
use std::process::{Command, Stdio};

use virshle_net::ManagedNetwork;

/// Where systemd-resolved keeps what it is asked for.
const RUNTIME: &str = "/run/systemd/resolve";
const PROGRAM: &str = "resolvectl";

/// Whether systemd-resolved answers the names of this host.
pub(crate) fn runs() -> bool {
    Path::new(RUNTIME).is_dir() && run(&["status"]).is_some()
}

/// Whether it asks the managed network's dnsmasq for the names of machines.
pub(crate) fn is_asking(network: &ManagedNetwork) -> bool {
    let bridge = network.bridge.as_str();
    let domain = format!("~{}", network.domain);
    let has = |verb: &str, wanted: &str| {
        let text = run(&[verb, bridge]).unwrap_or_default();
        text.split_ascii_whitespace().any(|word| word == wanted)
    };
    has("domain", &domain) && has("dns", &network.subnet.gateway().to_string())
}

/// The commands that let it ask.
pub(crate) fn commands(network: &ManagedNetwork) -> Vec<String> {
    arguments(network).iter().map(|words| format!("{PROGRAM} {}", words.join(" "))).collect()
}

/// Lets it ask. Without it names are resolved by guests alone, so that what fails is only logged.
pub(crate) fn ask(network: &ManagedNetwork) {
    for words in arguments(network) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if run(&words).is_none() {
            tracing::warn!(
                "`{PROGRAM} {}` failed: this host has no names of machines",
                words.join(" ")
            );
        }
    }
}

/// Lets it ask no longer.
pub(crate) fn revert(bridge: &str) {
    run(&["revert", bridge]);
}

fn arguments(network: &ManagedNetwork) -> [Vec<String>; 3] {
    let bridge = network.bridge.as_str();
    let words = |verb: &str, value: String| vec![verb.to_owned(), bridge.to_owned(), value];
    [
        words("dns", network.subnet.gateway().to_string()),
        words("domain", format!("~{}", network.domain)),
        words("default-route", "false".into()),
    ]
}

/// What it prints; none if it fails, or isn't there.
fn run(arguments: &[&str]) -> Option<String> {
    let output = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
