//! See `virshle_fuzz::user_data`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::user_data(bytes));
