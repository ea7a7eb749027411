#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bivium_fuzz::value::run(data));
