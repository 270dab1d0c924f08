//! See `virshle_fuzz::selector`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::selector(bytes));
