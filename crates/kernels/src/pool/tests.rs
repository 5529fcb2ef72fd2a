//! Facts about the pool; the stress tests stand in for a model checker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::{MAX_THREADS, Pool};

fn counters(n: usize) -> Vec<AtomicUsize> {
    (0..n).map(|_| AtomicUsize::new(0)).collect()
}

#[test]
fn every_task_runs_exactly_once_for_any_threads_and_tasks() {
    for threads in [0, 1, 2, 3, 7] {
        let pool = Pool::new(threads);
        for tasks in [0, 1, 2, 3, 5, 64, 1000] {
            let calls = counters(tasks);
            pool.run(tasks, |task, _| {
                calls[task].fetch_add(1, Relaxed);
            });
            assert!(calls.iter().all(|c| c.load(Relaxed) == 1), "{threads} threads, {tasks} tasks");
        }
    }
}

#[test]
fn threads_count_the_caller_and_are_bounded() {
    assert_eq!(Pool::new(0).threads(), 1);
    assert_eq!(Pool::new(1).threads(), 1);
    assert_eq!(Pool::new(3).threads(), 3);
    assert!(Pool::new(usize::MAX).threads() <= MAX_THREADS);
}

#[test]
fn one_task_and_one_thread_stay_on_the_caller_in_order() {
    let caller = thread::current().id();
    for (threads, tasks) in [(4, 1), (1, 9)] {
        let next = AtomicUsize::new(0);
        Pool::new(threads).run(tasks, |task, _| {
            assert_eq!(thread::current().id(), caller);
            assert_eq!(next.fetch_add(1, Relaxed), task);
        });
        assert_eq!(next.into_inner(), tasks);
    }
}

#[test]
fn workers_take_tasks_and_are_named() {
    let pool = Pool::new(2);
    let seen = AtomicBool::new(false);
    // The caller's task waits for the worker's, so the worker must take one.
    pool.run(2, |_, _| {
        if thread::current().name() == Some("mobilenet-1") {
            seen.store(true, Relaxed);
        }
        let start = Instant::now();
        while !seen.load(Relaxed) && start.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
    });
    assert!(seen.into_inner());
}

#[test]
fn a_hundred_thousand_quick_jobs_lose_and_repeat_nothing() {
    // Stale claims are likeliest with jobs so short that workers are late.
    for threads in [2, 4] {
        let pool = Pool::new(threads);
        let calls = counters(4);
        let jobs = 50_000;
        for job in 0..jobs {
            let tasks = 2 + job % 3;
            // On this stack frame only: a call after the job reads garbage.
            let stamp = job;
            pool.run(tasks, |task, _| {
                assert_eq!(stamp, job);
                assert!(task < tasks);
                calls[task].fetch_add(1, Relaxed);
            });
        }
        let total: usize = calls.iter().map(|c| c.load(Relaxed)).sum();
        assert_eq!(total, (0..jobs).map(|job| 2 + job % 3).sum());
    }
}

#[test]
fn results_of_workers_are_visible_to_the_caller() {
    // Plain writes through a pointer: the pool alone orders them, which is
    // what ThreadSanitizer checks here.
    struct Slots(*mut u64);
    // SAFETY: each task writes its own slot.
    unsafe impl Sync for Slots {}
    impl Slots {
        fn slot(&self, i: usize) -> *mut u64 {
            self.0.wrapping_add(i)
        }
    }

    let pool = Pool::new(3);
    let mut data = [0u64; 6];
    for round in 1..=5000u64 {
        let slots = Slots(data.as_mut_ptr());
        pool.run(data.len(), |i, _| {
            // SAFETY: in bounds, and only task `i` touches slot `i`.
            unsafe { *slots.slot(i) += round };
        });
        let expected = round * (round + 1) / 2;
        assert!(data.iter().all(|&d| d == expected), "round {round}");
    }
}

#[test]
fn parked_workers_wake_and_a_late_one_is_harmless() {
    let pool = Pool::new(4);
    for pause in 0..60 {
        // Around the end of spinning, where a sleeper may miss a wake.
        thread::sleep(Duration::from_micros(5 * pause));
        let calls = counters(8);
        pool.run(8, |task, _| {
            calls[task].fetch_add(1, Relaxed);
        });
        assert!(calls.iter().all(|c| c.load(Relaxed) == 1));
    }
}

#[test]
fn a_caller_that_blocks_on_long_tasks_is_woken() {
    let pool = Pool::new(2);
    for _ in 0..5 {
        let calls = AtomicUsize::new(0);
        pool.run(4, |_, _| {
            if thread::current().name() == Some("mobilenet-1") {
                thread::sleep(Duration::from_millis(5));
            }
            calls.fetch_add(1, Relaxed);
        });
        assert_eq!(calls.into_inner(), 4);
    }
}

#[test]
fn a_fork_inside_a_task_runs_inline() {
    let pool = Pool::new(3);
    let calls = AtomicUsize::new(0);
    pool.run(5, |_, _| {
        let outer = thread::current().id();
        pool.run(4, |_, _| {
            assert_eq!(thread::current().id(), outer);
            calls.fetch_add(1, Relaxed);
        });
    });
    assert_eq!(calls.into_inner(), 20);
}

#[test]
fn many_callers_share_a_pool_without_waiting() {
    let pool = Pool::new(3);
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let own = AtomicUsize::new(0);
                    pool.run(3, |_, _| {
                        own.fetch_add(1, Relaxed);
                        calls.fetch_add(1, Relaxed);
                    });
                    assert_eq!(own.into_inner(), 3);
                }
            });
        }
    });
    assert_eq!(calls.into_inner(), 4 * 2000 * 3);
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_stays_usable() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads);
        for culprit in 0..6 {
            let running = AtomicUsize::new(0);
            let panic = catch_unwind(AssertUnwindSafe(|| {
                pool.run(6, |task, _| {
                    running.fetch_add(1, Relaxed);
                    if task == culprit {
                        running.fetch_sub(1, Relaxed);
                        panic!("task {task}");
                    }
                    running.fetch_sub(1, Relaxed);
                });
            }))
            .expect_err("the panic must propagate");
            assert_eq!(panic.downcast_ref::<String>(), Some(&format!("task {culprit}")));
            assert_eq!(running.into_inner(), 0, "no task runs after the panic");
        }
        let calls = AtomicUsize::new(0);
        pool.run(6, |_, _| {
            calls.fetch_add(1, Relaxed);
        });
        assert_eq!(calls.into_inner(), 6);
    }
}

#[test]
fn one_of_many_panics_is_reported() {
    let pool = Pool::new(3);
    for _ in 0..20 {
        let panic = catch_unwind(AssertUnwindSafe(|| pool.run(8, |_, _| panic!("all of them"))));
        let payload = panic.expect_err("the panic must propagate");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"all of them"));
    }
}

#[test]
fn dropping_joins_hot_and_parked_workers() {
    for pause in [0, 20, 50, 60, 3000] {
        for _ in 0..10 {
            let pool = Pool::new(4);
            pool.run(4, |_, _| {});
            thread::sleep(Duration::from_micros(pause));
            drop(pool);
        }
    }
    // And before the workers have started.
    for _ in 0..50 {
        drop(Pool::new(3));
    }
}

/// Nanoseconds that these threads of the process spent on a processor.
#[cfg(target_os = "linux")]
fn processor_time(tids: &[String]) -> u64 {
    let time = |tid: &String| -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok()
    };
    tids.iter().filter_map(time).sum()
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_pool_uses_no_processor_time() {
    let pool = Pool::new(3);
    let tid = |path: &str| {
        let link = std::fs::read_link(path).ok()?;
        Some(link.file_name()?.to_str()?.to_owned())
    };
    let tids = std::sync::Mutex::new(Vec::new());
    // Each thread waits for the others, so that both workers give their ids.
    let barrier = std::sync::Barrier::new(3);
    pool.run(3, |_, _| {
        tids.lock().expect("no panics").extend(tid("/proc/thread-self"));
        barrier.wait();
    });
    let main = tid("/proc/thread-self");
    let mut tids = tids.into_inner().expect("no panics");
    tids.retain(|t| Some(t) != main.as_ref());
    assert_eq!(tids.len(), 2);

    // On a crowded machine a worker may be stopped in mid-spin and take its
    // last microseconds late, so one quiet spell of several has to do.
    let is_quiet = || {
        thread::sleep(Duration::from_millis(20));
        let before = processor_time(&tids);
        thread::sleep(Duration::from_millis(100));
        processor_time(&tids) == before
    };
    assert!((0..10).any(|_| is_quiet()));
}
