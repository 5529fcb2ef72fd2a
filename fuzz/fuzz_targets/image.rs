#![no_main]

use mobilenet_run::Image;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Image::decode(bytes, "photo");
});
