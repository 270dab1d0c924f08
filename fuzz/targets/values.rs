//! See `virshle_fuzz::values`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::values(bytes));
