//! PDUs and PDVs of an established association (PS3.8 9.3.5).

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::dicom::pdv::fuzz_pdus(data));
