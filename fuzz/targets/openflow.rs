//! See `virshle_fuzz::openflow`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::openflow(bytes));
