//! Once its arena is there, a program allocates nothing: not on the first run, nor with several threads. One test alone
//! in its process, for the counter sees every thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::arch::{self, Spec};
use mobilenet_net::init;
use mobilenet_run::program::Options;
use mobilenet_run::{Arena, Program};

/// Counts every call that takes or gives back memory, on any thread.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all work is the system's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        CALLS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn program(name: &str, width: f64, isa: Isa) -> Program {
    let graph = arch::find(name).unwrap().graph(&Spec { width, classes: 10, ..Spec::default() }).unwrap();
    let outputs = vec!["logits".into(), "features".into(), "block3".into()];
    Program::compile(&graph, init::random(&graph, 1), &Options { isa, outputs, ..Options::default() }).unwrap()
}

/// Calls of the allocator while the program runs once.
fn calls(program: &Program, arena: &mut Arena) -> usize {
    let before = CALLS.load(Ordering::SeqCst);
    program.run(arena);
    CALLS.load(Ordering::SeqCst) - before
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
