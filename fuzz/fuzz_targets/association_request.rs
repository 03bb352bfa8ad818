//! The A-ASSOCIATE-RQ and its answer (PS3.8 9.3.2).

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::dicom::acceptor::fuzz_request(data));
