//! See `virshle_fuzz::control`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::control(bytes));
