//! Once its arena is there, a program allocates nothing: not on the first run, nor with several threads. One test alone
//! in its process, for the counter sees every thread.

use std::sync::Arc;

use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::arch::{self, Spec};
use mobilenet_net::init;
use mobilenet_run::program::Options;
use mobilenet_run::{Arena, Program};
use mobilenet_testing::allocations::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn program(name: &str, width: f64, isa: Isa) -> Program {
    let graph = arch::find(name).unwrap().graph(&Spec { width, classes: 10, ..Spec::default() }).unwrap();
    let outputs = vec!["logits".into(), "features".into(), "block3".into()];
    Program::compile(&graph, init::random(&graph, 1), &Options { isa, outputs, ..Options::default() }).unwrap()
}

/// Calls of the allocator while the program runs once.
fn calls(program: &Program, arena: &mut Arena) -> usize {
    Counting::calls(|| program.run(arena))
}

#[test]
fn a_run_allocates_nothing() {
    // What the whole process does once, such as asking the processor, is done by another program.
    let other = program("mobilenet_v3_small_minimal", 0.25, Isa::detect());
    other.run(&mut other.arena(1, 32, 32, &Arc::new(Pool::new(2))).unwrap());

    for name in arch::models().iter().map(|model| model.name) {
        for isa in Isa::available() {
            let program = program(name, 0.5, isa);
            for threads in [1, 2] {
                for [n, h, w] in [[1, 96, 96], [3, 33, 65], [8, 64, 64]] {
                    let pool = Arc::new(Pool::new(threads));
                    let mut arena = program.arena(n, h, w, &pool).unwrap();
                    arena.input_mut().fill(0.5);
                    for run in ["first", "second", "third"] {
                        let calls = calls(&program, &mut arena);
                        assert_eq!(calls, 0, "{name} on {isa}, {threads} thread(s), {n}×{h}×{w}: the {run} run");
                    }
                }
            }
        }
    }
}
