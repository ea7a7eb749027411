#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bivium_fuzz::wire::run(data));
