//! What a fork costs: hot, and after a spell of idleness.
//!
//! `cargo bench -p mobilenet-kernels --bench pool [THREADS]`; best and median
//! of many, because a busy machine only ever adds.

use std::hint::{self, black_box};
use std::thread;
use std::time::{Duration, Instant};

use mobilenet_kernels::pool::Pool;

fn main() {
    // Cargo passes `--bench`; the first number is ours.
    let threads = std::env::args().find_map(|arg| arg.parse().ok());
    let pool = Pool::new(threads.unwrap_or(2));
    println!("{} threads", pool.threads());

    for (tasks, length) in [(2, 0), (8, 0), (2, 500), (8, 500), (2, 10_000)] {
        let batches = (0..1000).map(|_| forks(&pool, 100, tasks, length) / 100);
        report(&format!("fork of {tasks} × {length} ns, hot"), batches);
    }
    for idle in [Duration::from_micros(200), Duration::from_millis(15)] {
        for (count, length) in [(1, 0), (1, 10_000), (100, 10_000)] {
            let after = (0..100).map(|_| {
                thread::sleep(idle);
                forks(&pool, count, 2, length)
            });
            report(&format!("{count} forks of 2 × {length} ns after {idle:?} idle"), after);
        }
    }
}

/// Time of `count` forks of `tasks` tasks that take `length` nanoseconds each.
fn forks(pool: &Pool, count: u32, tasks: usize, length: u64) -> Duration {
    let length = Duration::from_nanos(length);
    let start = Instant::now();
    for _ in 0..count {
        pool.run(tasks, |task, _| {
            black_box(task);
            let start = Instant::now();
            while !length.is_zero() && start.elapsed() < length {
                hint::spin_loop();
            }
        });
    }
    start.elapsed()
}

fn report(what: &str, times: impl Iterator<Item = Duration>) {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let (best, median) = (times[0].as_nanos(), times[times.len() / 2].as_nanos());
    println!("{what:<40} best {best:>9} ns   median {median:>9} ns");
}
