//! Orders: read, sent on to a reader, and read again by it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::hl7::order::fuzz_order(data));
