//! Data sets of messages: identifiers of queries, attributes of N-services.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::dicom::dataset::fuzz_data_set(data));
