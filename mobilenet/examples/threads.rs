//! Many photos at once: one program, packed once, and an arena for each thread.
//!
//!     cargo run --release -p mobilenet --example threads
//!
//! This is for throughput: nobody waits for anybody. For the latency of one image, give one arena a pool of several
//! threads.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use mobilenet::arch::{self, Spec};
use mobilenet::kernels::cpu;
use mobilenet::{Pool, Program, init};

const IMAGES: usize = 100;

fn main() -> Result<(), mobilenet::net::Error> {
    let graph = arch::find("mobilenet_v3_small")?.graph(&Spec::default())?;
    let program = Program::compile(&graph, init::random(&graph, 1), &Default::default())?;

    for threads in 1..=cpu::default_threads() {
        // A pool of one thread: each arena's work stays with whoever runs it.
        let alone = Arc::new(Pool::new(1));
        let arenas = (0..threads).map(|_| program.arena(1, 224, 224, &alone)).collect::<Result<Vec<_>, _>>()?;
        let start = Instant::now();
        thread::scope(|scope| {
            for mut arena in arenas {
                let program = &program;
                scope.spawn(move || {
                    for _ in 0..IMAGES {
                        arena.input_mut().fill(0.5);
                        program.run(&mut arena);
                    }
                });
            }
        });
        let seconds = start.elapsed().as_secs_f64();
        println!("{threads} thread(s): {:.0} images/s", (threads * IMAGES) as f64 / seconds);
    }
    Ok(())
}
