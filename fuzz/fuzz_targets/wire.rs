#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosaik_fuzz::wire(data));
