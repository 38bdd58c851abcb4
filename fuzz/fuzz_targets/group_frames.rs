#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosaik_fuzz::group_frames(data));
