//! How an Open vSwitch gets DPDK: the one recipe that messages, checks and docs give.

/// The commands that give Open vSwitch DPDK on Debian and Ubuntu, for good and in an order that works.
///
/// Hugepages come before the switch: with `dpdk-init` and none of them `ovs-vswitchd` aborts, and stays
/// away. What it may sleep (microseconds) has another name since Open vSwitch 3.2; without it, a core
/// is busy as long as there is a vhost-user port.
pub const DPDK_RECIPE: [&str; 6] = [
    "apt install openvswitch-switch-dpdk",
    "echo vm.nr_hugepages=512 > /etc/sysctl.d/80-virshle-dpdk.conf",
    "sysctl -p /etc/sysctl.d/80-virshle-dpdk.conf",
    "update-alternatives --set ovs-vswitchd /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk",
    "ovs-vsctl --no-wait set Open_vSwitch . other_config:dpdk-init=true \
     other_config:pmd-maxsleep=1000 other_config:pmd-sleep-max=1000",
    "systemctl restart openvswitch-switch",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: four texts had four variants, of which one killed the switch.
    #[test]
    fn the_docs_have_the_recipe_in_its_order() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for page in ["docs/guide/networks.md"] {
            // A package has no docs beside it.
            let Ok(text) = std::fs::read_to_string(root.join(page)) else { continue };
            let text = text.replace("\\\n", " ");
            let words: Vec<&str> = text.split_whitespace().collect();
            let mut rest = words.join(" ");
            for command in DPDK_RECIPE {
                let (_, after) =
                    rest.split_once(command).unwrap_or_else(|| panic!("{page}: {command}"));
                rest = after.to_owned();
            }
        }
    }
}
