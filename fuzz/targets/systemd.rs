//! See `virshle_fuzz::systemd`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::systemd(bytes));
