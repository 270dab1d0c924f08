//! See `virshle_fuzz::qcow2`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::qcow2(bytes));
