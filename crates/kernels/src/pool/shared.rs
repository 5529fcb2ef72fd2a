//! How the threads of a pool pass tasks, and how they wait.
//!
//! # Why a late worker cannot touch a finished job
//!
//! `unclaimed` counts the tasks of the current job that nobody has claimed;
//! a claim is a compare-and-swap from `n` to `n - 1`. The job itself (closure
//! and number of tasks) is read only *after* a successful claim. A claim made
//! with a stale `n` that happens to match a later job is simply a claim of
//! that later job. So no epoch is needed, and none can wrap:
//!
//! 1. `unclaimed > 0` only while a caller is inside `run`: the caller leaves
//!    after `unclaimed` is 0 and every claimed task is reported in `done`.
//! 2. A worker reports after its last task, so between its first claim and
//!    its report the caller is still inside `run`, and the closure, which
//!    lives on the caller's stack, is alive.
//! 3. The caller writes the job before it publishes `unclaimed` (release) and
//!    a claim acquires it; workers report with release and the caller
//!    acquires `done` before it returns. So job accesses never race.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::MAX_THREADS;
use super::placement::{self, Mask};

/// How long a worker without work stays awake before it parks.
///
/// Longer than the serial gaps inside a network (squeeze-and-excite, small
/// layers run inline: up to about 20 µs here), so that workers stay hot within
/// an inference; short enough that a photo leaves no trace of idle time.
const WORKER_PATIENCE: Duration = Duration::from_micros(50);

/// How long a caller waits for the tasks of others before it blocks. Waking a
/// blocked thread takes 50 to 500 µs on a virtual machine, so blocking pays
/// only for tasks of milliseconds.
const CALLER_PATIENCE: Duration = Duration::from_millis(1);

/// How long both spin before they also offer their processor with each look.
///
/// Where other programs fill the machine, the kernel may wake a worker on the
/// caller's own processor. Each then spins in the other's way: forks of two
/// tasks of 10 µs took 76 µs with 50 µs of spinning alone, 20 to 21 with this
/// (as on one thread).
const SPIN: Duration = Duration::from_micros(5);

/// Reads of the shared word between two looks at the clock. A `pause` takes 10
/// to 140 cycles depending on the processor, which is why time, not a count,
/// ends the spinning; a look at the clock costs about 25 ns.
const SPINS_PER_CLOCK_READ: u32 = 32;

/// Sleepers woken by the caller, and by each worker that wakes to find work.
/// A wake is a system call of a few µs in the caller's way; waking as a tree
/// keeps that constant while 63 workers are up after six steps.
const WAKE_FAN_OUT: usize = 2;

/// Value of `unclaimed` that tells workers to leave.
const SHUTDOWN: usize = usize::MAX;

/// In `done`: the caller has blocked and wants to be notified.
const CALLER_BLOCKED: usize = 1 << (usize::BITS - 1);
/// In `done`: a task panicked and its payload waits in `Shared::panic`.
const PANICKED: usize = 1 << (usize::BITS - 2);
/// In `done`: the number of tasks that workers have finished.
const DONE_COUNT: usize = PANICKED - 1;

/// Stands in before the first job.
const NO_TASK: &(dyn Fn(usize, usize) + Sync) = &|_, _| {};

/// The current job; meaningful only while a caller is inside `run`.
struct Job {
    f: *const (dyn Fn(usize, usize) + Sync),
    tasks: usize,
}

/// What a worker reads when it is hot, in one cache line: a fork then moves
/// one line from the caller's core. 128 bytes because x86 fetches lines in pairs.
#[repr(align(128))]
struct Fork {
    unclaimed: AtomicUsize,
    job: UnsafeCell<Job>,
}

/// What the caller reads while it waits.
#[repr(align(128))]
struct Join {
    done: AtomicUsize,
}

/// What the threads of a pool share.
pub(super) struct Shared {
    fork: Fork,
    join: Join,
    /// Held by the caller that has the workers; others run inline.
    busy: AtomicBool,
    /// Bit `i` is set while worker `i` is parked or about to be, and nobody
    /// has set out to wake it.
    sleepers: AtomicU64,
    /// Bit `i` is set when whoever cleared it in `sleepers` is done with it.
    woken: AtomicU64,
    /// The processor that the last caller to wake somebody was on.
    caller_cpu: AtomicI32,
    /// The kernel's numbers of the workers, 0 while unknown.
    thread_ids: [AtomicI32; MAX_THREADS],
    /// Workers that have started.
    started: AtomicUsize,
    /// Handles to unpark workers, set once all are spawned.
    threads: OnceLock<Vec<Thread>>,
    /// Where a caller blocks when tasks take long; guards no data of its own.
    blocked: Mutex<()>,
    unblock: Condvar,
    /// Payload of the first panic of the current job.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: everything but `fork.job` is Sync by itself. `fork.job` is written
// only by the caller that holds `busy` while no task is claimed, and read only
// between a claim and its report; the module's comment shows that these are
// ordered. The pointer in it is to a `dyn Fn + Sync`, which any thread may call.
unsafe impl Sync for Shared {}
// SAFETY: as above; no field is tied to the thread that made it.
unsafe impl Send for Shared {}

impl Shared {
    pub(super) fn new() -> Shared {
        Shared {
            fork: Fork { unclaimed: AtomicUsize::new(0), job: UnsafeCell::new(Job { f: NO_TASK, tasks: 0 }) },
            join: Join { done: AtomicUsize::new(0) },
            busy: AtomicBool::new(false),
            sleepers: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            caller_cpu: AtomicI32::new(-1),
            thread_ids: [const { AtomicI32::new(0) }; MAX_THREADS],
            started: AtomicUsize::new(0),
            threads: OnceLock::new(),
            blocked: Mutex::new(()),
            unblock: Condvar::new(),
            panic: Mutex::new(None),
        }
    }

    /// Hands over the workers' handles, for waking them; called once.
    pub(super) fn set_threads(&self, threads: Vec<Thread>) {
        let unset = self.threads.set(threads);
        debug_assert!(unset.is_ok(), "handles are set once");
    }

    /// Waits until `workers` have started. Starting a thread allocates, on the
    /// thread itself: past this point no fork is accompanied by that.
    pub(super) fn wait_for_start(&self, workers: usize) {
        while self.started.load(Acquire) < workers {
            thread::yield_now();
        }
    }

    /// Takes the workers for a job, unless another caller has them.
    pub(super) fn try_enter(&self) -> bool {
        !self.busy.swap(true, Acquire)
    }

    /// Makes every worker leave once it is awake.
    pub(super) fn shut_down(&self) {
        self.fork.unclaimed.store(SHUTDOWN, SeqCst);
    }

    /// The caller's side of a job, after `try_enter`.
    pub(super) fn run(&self, tasks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        let f = f as *const (dyn Fn(usize, usize) + Sync);
        // SAFETY: only the lifetime in the type changes. The pointer is used
        // only between a claim and its report, and this function returns after
        // all reports (module comment, 2), while `f` is borrowed.
        let f = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize, usize) + Sync + '_),
                *const (dyn Fn(usize, usize) + Sync + 'static),
            >(f)
        };
        // SAFETY: `busy` makes this the only caller, and `unclaimed` is 0 and
        // all of the last job is reported, so no worker reads the job.
        unsafe { *self.fork.job.get() = Job { f, tasks } };
        self.join.done.store(0, Relaxed);
        // The caller keeps task 0 without a claim. SeqCst pairs with `sleep`.
        self.fork.unclaimed.store(tasks - 1, SeqCst);
        self.wake(tasks - 1, true);

        self.call(f, 0, 0);
        let mine = 1 + self.claim_all(0);
        let done = self.wait(tasks - mine);

        let payload = if done & PANICKED != 0 { lock(&self.panic).take() } else { None };
        self.busy.store(false, Release);
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }

    /// Claims and calls tasks in `slot` until none is left; returns how many.
    fn claim_all(&self, slot: usize) -> usize {
        let unclaimed = &self.fork.unclaimed;
        let mut claimed = 0;
        let mut left = unclaimed.load(Relaxed);
        while left != 0 && left != SHUTDOWN {
            match unclaimed.compare_exchange_weak(left, left - 1, Acquire, Relaxed) {
                Ok(_) => {
                    // SAFETY: a task is claimed and not yet reported, so the
                    // job is published and stays (module comment).
                    let Job { f, tasks } = unsafe { &*self.fork.job.get() };
                    self.call(*f, tasks - left, slot);
                    claimed += 1;
                    // Whoever took the last task need not look for another.
                    left = if left == 1 { 0 } else { unclaimed.load(Relaxed) };
                }
                Err(now) => left = now,
            }
        }
        claimed
    }

    /// Calls one claimed task of the current job; keeps a panic for the caller.
    fn call(&self, f: *const (dyn Fn(usize, usize) + Sync), task: usize, slot: usize) {
        // SAFETY: the task is claimed and not yet reported, so the caller is
        // still in `run`, which borrows the closure.
        let f = unsafe { &*f };
        // Unwind safety: the caller sees the panic, and `run` bounds `f` by
        // `Sync`, so whatever a panic leaves behind was shared state already.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(task, slot))) {
            let mut first = lock(&self.panic);
            if first.is_none() {
                *first = Some(payload);
            } else {
                // Dropping a payload runs foreign code: should that panic, the
                // worker must live on, so its payload is leaked.
                drop(first);
                let drop_it = AssertUnwindSafe(|| drop(payload));
                catch_unwind(drop_it).unwrap_or_else(std::mem::forget);
            }
            self.join.done.fetch_or(PANICKED, Relaxed);
        }
    }

    /// Waits until workers have reported `expected` tasks; returns `done`.
    fn wait(&self, expected: usize) -> usize {
        let done = &self.join.done;
        let is_finished = || done.load(Acquire) & DONE_COUNT == expected;
        if !wait_until(is_finished, CALLER_PATIENCE) {
            let mut guard = lock(&self.blocked);
            // A worker adds to `done` first and then takes the lock, so either
            // its tasks are seen below or its notification comes during `wait`.
            done.fetch_or(CALLER_BLOCKED, Relaxed);
            while !is_finished() {
                guard = self.unblock.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
        done.load(Acquire)
    }

    /// The life of worker `index`.
    pub(super) fn work(&self, index: usize) {
        let has_news = || self.fork.unclaimed.load(Relaxed) != 0;
        let id = placement::thread_id().unwrap_or(0);
        self.thread_ids[index].store(id, Relaxed);
        self.started.fetch_add(1, Release);
        loop {
            let hot = wait_until(has_news, WORKER_PATIENCE);
            if !hot {
                self.sleep(index);
            }
            match self.fork.unclaimed.load(Relaxed) {
                0 => continue,
                SHUTDOWN => return,
                // One that slept passes the wake on, see `WAKE_FAN_OUT`.
                left if !hot && left > 1 => self.wake(left - 1, false),
                _ => {}
            }
            let claimed = self.claim_all(index + 1);
            if claimed != 0 {
                self.report(claimed);
            }
        }
    }

    /// Tells the caller that a worker has finished `claimed` tasks. The caller
    /// may return at once: nothing of the job is touched after this.
    fn report(&self, claimed: usize) {
        if self.join.done.fetch_add(claimed, AcqRel) & CALLER_BLOCKED != 0 {
            drop(lock(&self.blocked));
            self.unblock.notify_one();
        }
    }

    /// Parks worker `index` until `wake` chooses it or there is news.
    ///
    /// Here the bit is set and then `unclaimed` read; a caller publishes
    /// `unclaimed` and then reads the bits, all SeqCst: one of the two sees
    /// the other, so no wake is lost. (A lost one would cost speed, not
    /// correctness, except for `SHUTDOWN`, which unparks regardless.)
    fn sleep(&self, index: usize) {
        let bit = 1 << index;
        let is_woken = || self.woken.load(Acquire) & bit != 0;
        let mask = Mask::of(0);
        self.sleepers.fetch_or(bit, SeqCst);
        while self.fork.unclaimed.load(SeqCst) == 0 && !is_woken() {
            thread::park();
        }
        if self.sleepers.fetch_and(!bit, Relaxed) & bit != 0 {
            return; // Nobody set out to wake it.
        }
        // Somebody did, and may still be changing this worker's mask.
        while !is_woken() {
            thread::park();
        }
        self.woken.fetch_and(!bit, Relaxed);
        if let Some(mask) = mask {
            mask.apply(0);
        }
    }

    /// Wakes sleepers for `tasks` unclaimed tasks, counting on every worker
    /// that is awake to take one, and at most `WAKE_FAN_OUT`.
    fn wake(&self, tasks: usize, is_caller: bool) {
        let mut sleepers = self.sleepers.load(SeqCst);
        let (true, Some(threads)) = (sleepers != 0, self.threads.get()) else {
            return;
        };
        let awake = threads.len().saturating_sub(sleepers.count_ones() as usize);
        let count = tasks.saturating_sub(awake).min(WAKE_FAN_OUT);
        if count == 0 {
            return;
        }
        let cpu = placement::this_processor();
        if is_caller {
            self.caller_cpu.store(cpu, Relaxed);
        }
        let avoided = [cpu, self.caller_cpu.load(Relaxed)];
        for _ in 0..count {
            let index = sleepers.trailing_zeros() as usize;
            let Some(thread) = threads.get(index) else {
                return;
            };
            let bit = 1 << index;
            sleepers &= !bit;
            // Another waker may have been first; that one unparks it.
            if self.sleepers.fetch_and(!bit, Relaxed) & bit != 0 {
                let id = self.thread_ids[index].load(Relaxed);
                if id != 0 {
                    placement::avoid(id, avoided);
                }
                self.woken.fetch_or(bit, Release);
                thread.unpark();
            }
        }
    }
}

/// Waits until `ready` (true) or until `patience` has passed (false); spins for
/// [`SPIN`], then lets other threads of this processor run between the looks.
fn wait_until(ready: impl Fn() -> bool, patience: Duration) -> bool {
    // The clock is first read after a round, so a short wait never reads it.
    let mut start = None;
    loop {
        for _ in 0..SPINS_PER_CLOCK_READ {
            if ready() {
                return true;
            }
            hint::spin_loop();
        }
        let waited = start.get_or_insert_with(Instant::now).elapsed();
        if waited >= patience {
            return false;
        }
        if waited >= SPIN {
            thread::yield_now();
        }
    }
}

/// Locks; a poisoned lock guards nothing that a panic could have broken.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
