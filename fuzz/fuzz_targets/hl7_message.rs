//! HL7 v2 messages: read, understood as a report, answered.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::hl7::fuzz_message(data));
