//! See `virshle_fuzz::words`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::words(bytes));
