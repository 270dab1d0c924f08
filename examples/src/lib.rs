//! Programs that use the crates; see `examples/examples/`.
