//! See `virshle_fuzz::ovsdb`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::ovsdb(bytes));
