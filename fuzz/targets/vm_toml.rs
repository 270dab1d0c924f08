//! See `virshle_fuzz::vm_toml`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::vm_toml(bytes));
