//! MLLP framing.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::hl7::mllp::fuzz_frames(data));
