//! How much a guest may send and receive in a second, where a device of the host's kernel sees to it.

use virshle_net::DeviceRates;

use crate::model::definition::{NetDefinition, NetKind};

/// The rates of the device of `net`. A port of the switch is the switch's to limit.
pub(crate) fn device_rates(net: &NetDefinition) -> DeviceRates {
    let rates = DeviceRates::default();
    match net.kind {
        // By a tap comes in what the guest sends.
        NetKind::Bridge => rates.incoming_bits(net.rate_out_bits).outgoing_bits(net.rate_in_bits),
        // By a macvtap goes out what the guest sends.
        NetKind::Macvtap => rates.incoming_bits(net.rate_in_bits).outgoing_bits(net.rate_out_bits),
        NetKind::User | NetKind::Vhost | NetKind::Tap => rates,
    }
}
