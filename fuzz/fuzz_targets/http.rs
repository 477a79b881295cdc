#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portscan_exporter_fuzz::bodies::http(bytes));
