//! See `virshle_fuzz::console`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::console(bytes));
