//! From a network in a TOML file to what it costs here: parameters, multiply-adds, milliseconds.
//!
//!     cargo run --release -p mobilenet --example custom_table -- examples/tables/v3_swish.toml
//!
//! `docs/tables.md` explains the file.

use std::sync::Arc;

use mobilenet::arch::{self, Spec};
use mobilenet::kernels::cpu;
use mobilenet::net::count::Summary;
use mobilenet::run::measure::{latencies_ms, median};
use mobilenet::{Pool, Program, init};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("give a TOML file or a network's name")?;
    let table = arch::find(&file)?;
    let pool = Arc::new(Pool::new(cpu::default_threads()));

    for width in [1.0, 0.75, 0.5] {
        let graph = table.graph(&Spec { width, ..Spec::default() })?;
        let costs = Summary::new(&graph, 224, 224)?;
        let (parameters, multiply_adds) = (costs.parameters as f64 / 1e6, costs.multiply_adds as f64 / 1e6);

        let program = Program::compile(&graph, init::random(&graph, 1), &Default::default())?;
        let mut arena = program.arena(1, 224, 224, &pool)?;
        arena.input_mut().fill(0.5);
        let ms = median(&latencies_ms(&program, &mut arena, 0.5));
        println!(
            "{} {width}: {parameters:.2} M parameters, {multiply_adds:.1} M multiply-adds, {ms:.2} ms",
            table.name
        );
    }
    Ok(())
}
