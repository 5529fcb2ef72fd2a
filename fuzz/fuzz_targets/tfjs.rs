#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mobilenet_fuzz::weights_file(bytes, "TensorFlow.js"));
