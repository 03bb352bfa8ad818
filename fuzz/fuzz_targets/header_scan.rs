//! The header scanner, in every transfer syntax (PS3.5 7).

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::dicom::scan::fuzz_scan(data));
