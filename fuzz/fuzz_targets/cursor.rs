#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| order_service::fuzz::cursor(data));
