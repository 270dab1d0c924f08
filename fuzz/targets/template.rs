//! See `virshle_fuzz::template`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| virshle_fuzz::template(bytes));
