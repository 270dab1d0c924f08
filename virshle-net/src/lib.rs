//! Open vSwitch over OVSDB (RFC 7047): bridges, patch links, ports; tap devices; MAC addresses.
