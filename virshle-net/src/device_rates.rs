//! How fast a device of the host's kernel may be.

use crate::{Device, InterfaceName, NetError, traffic_control};

/// How many bits per second a device may take in, and give out: seen from the host.
///
/// Of a tap, what comes in is what the guest sends. What is beyond is dropped, or waits a moment when it
/// goes out. The settings are the device's own and go with it.
///
/// # References
///
/// `tc-tbf(8)`, `tc-police(8)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct DeviceRates {
    incoming: Option<u64>,
    outgoing: Option<u64>,
}

impl DeviceRates {
    /// Limits what comes in by the device.
    pub fn incoming_bits(mut self, bits_per_second: Option<u64>) -> Self {
        self.incoming = bits_per_second;
        self
    }

    /// Limits what goes out by the device.
    pub fn outgoing_bits(mut self, bits_per_second: Option<u64>) -> Self {
        self.outgoing = bits_per_second;
        self
    }

    /// Limits the device called `name`; may run again. A direction without a rate is left as it is.
    ///
    /// # Errors
    ///
    /// [`NetError::TrafficControl`], [`NetError::Device`].
    pub fn apply(&self, name: &InterfaceName) -> Result<(), NetError> {
        if *self == Self::default() {
            return Ok(());
        }
        let index = index(name)?;
        let limited = || -> std::io::Result<()> {
            if let Some(bits) = self.incoming {
                traffic_control::prepare(index)?;
                traffic_control::police(index, bits / 8)?;
            }
            self.outgoing.map_or(Ok(()), |bits| traffic_control::shape(index, bits / 8))
        };
        limited().map_err(|source| NetError::TrafficControl {
            action: "limit the rate of",
            device: name.to_string(),
            source,
        })
    }

    /// Whether the device called `name` is limited so.
    ///
    /// # Errors
    ///
    /// [`NetError::TrafficControl`], [`NetError::Device`].
    pub fn hold(&self, name: &InterfaceName) -> Result<bool, NetError> {
        if *self == Self::default() {
            return Ok(true);
        }
        let index = index(name)?;
        let hold = || -> std::io::Result<bool> {
            let incoming = self.incoming.is_none() || traffic_control::is_policed(index)?;
            let shaped = |bits| Ok(traffic_control::shaped(index)? == Some(bits / 8));
            Ok(incoming && self.outgoing.map_or(Ok::<_, std::io::Error>(true), shaped)?)
        };
        hold().map_err(|source| NetError::TrafficControl {
            action: "read the rate of",
            device: name.to_string(),
            source,
        })
    }
}

fn index(name: &InterfaceName) -> Result<u32, NetError> {
    let gone = || NetError::Device {
        action: "limit the rate of",
        name: name.to_string(),
        source: std::io::ErrorKind::NotFound.into(),
    };
    Ok(Device::find(name)?.ok_or_else(gone)?.index)
}
