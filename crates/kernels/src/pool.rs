//! A thread pool for networks that take a millisecond.
//!
//! Such a network forks some fifty times an inference, so a fork has to cost
//! a few hundred nanoseconds and must never wait for a sleeping thread. Three
//! choices follow:
//!
//! * **Tasks are claimed, not dealt out.** A worker that wakes late finds
//!   nothing left and the caller has lost nothing. (With tasks split
//!   beforehand the first fork after an idle spell took 552 µs: the time of
//!   waking a thread.)
//! * **Workers spin briefly, then park.** Between two layers they are hot;
//!   between two photos they cost nothing.
//! * **A busy pool is no obstacle.** A second caller, or a task that forks
//!   again, runs its tasks inline, so there is no deadlock to think about.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use shared::Shared;

mod placement;
mod shared;
#[cfg(test)]
mod tests;

/// Most threads a pool has, the caller included: sleeping workers are one bit
/// each in a 64-bit word, and no layer of a MobileNet feeds more.
pub const MAX_THREADS: usize = 64;

/// A fixed set of threads that share tasks with whoever calls [`Pool::run`].
///
/// ```
/// use mobilenet_kernels::pool::Pool;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let pool = Pool::new(2);
/// let sum = AtomicUsize::new(0);
/// pool.run(10, |task, _slot| {
///     sum.fetch_add(task, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 45);
/// ```
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `threads` threads, of which the caller of [`run`](Pool::run)
    /// is one: 0 and 1 start no thread. At most [`MAX_THREADS`].
    ///
    /// Where the system refuses a thread (a limit on processes, a platform
    /// without threads), the pool is smaller; see [`threads`](Pool::threads).
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared::new());
        let mut workers = Vec::new();
        for index in 0..threads.clamp(1, MAX_THREADS) - 1 {
            let shared = Arc::clone(&shared);
            let worker =
                thread::Builder::new().name(format!("mobilenet-{}", index + 1)).spawn(move || shared.work(index));
            match worker {
                Ok(worker) => workers.push(worker),
                Err(_) => break,
            }
        }
        shared.set_threads(workers.iter().map(|w| w.thread().clone()).collect());
        shared.wait_for_start(workers.len());
        Pool { shared, workers }
    }

    /// Threads that share the tasks, the caller included: at least 1.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(0, slot)`, `f(1, slot)`, … `f(tasks - 1, slot)`, each exactly
    /// once, in no particular order, on the caller and the workers; returns
    /// when all are done. Allocates nothing.
    ///
    /// `slot` is below [`threads`](Pool::threads) and tells the threads of one
    /// call apart, so that each can have scratch memory of its own.
    ///
    /// Runs them in order on the caller when there is one task or one thread,
    /// when another caller has the workers, and inside a task.
    ///
    /// # Panics
    /// If a task panics, with the payload of the first panic, once no task
    /// runs any more. The other tasks may or may not have run. The pool stays
    /// usable.
    pub fn run(&self, tasks: usize, f: impl Fn(usize, usize) + Sync) {
        if tasks <= 1 || self.workers.is_empty() || !self.shared.try_enter() {
            for task in 0..tasks {
                f(task, 0);
            }
            return;
        }
        self.shared.run(tasks, &f);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shut_down();
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches every panic of a task, so it has none to report.
            let _ = worker.join();
        }
    }
}
