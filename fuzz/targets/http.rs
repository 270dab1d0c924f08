//! See `virshle_fuzz::http`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::http(bytes));
