#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rstblame_fuzz::events::holds(data));
