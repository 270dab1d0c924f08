//! What every tap is made with, on whatever bridge it is.

use virshle_net::{NetError, Tap};

use crate::model::definition::NetDefinition;

/// Keeps the host's IP stack from the frames of a tap.
pub(crate) fn isolate(net: &NetDefinition) -> Result<(), NetError> {
    virshle_net::Device::isolate(&net.port.parse()?)
}

/// A tap as the VMM wants it: with one queue it is none of several.
pub(crate) fn tap_of_queues(net: &NetDefinition, queues: u16) -> Result<Tap, NetError> {
    let name = net.port.parse()?;
    match queues {
        1 => Tap::create(&name),
        queues => Tap::create_multi_queue(&name, queues),
    }
}
