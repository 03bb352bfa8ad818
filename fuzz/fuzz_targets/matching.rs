//! Keys of a query against a candidate: whatever is asked, it is answered.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::dicom::matching::fuzz_matching(data));
