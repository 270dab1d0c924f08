//! One cloud-hypervisor process: launch, typed REST API with descriptor passing, events, exit.
