#![no_main]

use mobilenet_net::arch::{Spec, Table};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(graph) = Table::from_toml(text).and_then(|table| table.graph(&Spec::default())) {
        let _ = graph.infer(1, 64, 64);
    }
});
