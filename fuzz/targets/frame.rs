//! See `virshle_fuzz::frame`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::frame(bytes));
