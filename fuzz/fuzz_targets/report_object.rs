//! SR and PDF objects that carry a report.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| neisse::dicom::documents::fuzz_report(data));
