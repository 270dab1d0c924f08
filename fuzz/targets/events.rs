//! See `virshle_fuzz::events`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::events(bytes));
