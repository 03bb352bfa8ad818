//! DIMSE command sets (PS3.7 9.3).

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::dicom::dimse::fuzz_command(data));
