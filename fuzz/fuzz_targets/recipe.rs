#![no_main]

use mobilenet_train::Recipe;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = Recipe::from_toml(text);
});
