//! Jobs on several threads, their results in the order of the jobs.

use std::ops::ControlFlow;
use std::sync::{Mutex, mpsc};
use std::thread;

/// Jobs that are claimed and whose results are not taken yet, for each worker.
const AHEAD: usize = 4;

/// Gives each job to whichever worker is free, and every result to `take`, in the jobs' order; `take` may break off. There
/// is a thread for each of `workers`, which it owns while it works.
///
/// Jobs are asked for as workers get free, and no more than a few ahead of `take`, so that neither a long list nor a slow
/// job takes memory.
///
/// # Panics
/// Where `work` or `jobs` panic.
pub fn in_order<W: Send, J: Send, R: Send>(
    workers: Vec<W>,
    jobs: impl Iterator<Item = J> + Send,
    work: impl Fn(&mut W, &J) -> R + Sync,
    mut take: impl FnMut(J, R) -> ControlFlow<()>,
) {
    let (order, results) = mpsc::sync_channel(AHEAD * workers.len());
    let jobs = Mutex::new(jobs.fuse());
    thread::scope(|scope| {
        for mut worker in workers {
            let (jobs, work, order) = (&jobs, &work, order.clone());
            scope.spawn(move || {
                loop {
                    // Under one lock, so that the places of the results are in the jobs' order. A poisoned one ends all.
                    let (job, place) = {
                        let Ok(mut jobs) = jobs.lock() else { break };
                        let Some(job) = jobs.next() else { break };
                        let (place, result) = mpsc::sync_channel(1);
                        // Waits while there are many ahead; fails where nobody takes any more.
                        if order.send(result).is_err() {
                            break;
                        }
                        (job, place)
                    };
                    let result = work(&mut worker, &job);
                    _ = place.send((job, result));
                }
            });
        }
        drop(order);
        while let Ok(result) = results.recv() {
            // A worker that is gone without a result has panicked, which ends the scope.
            let Ok((job, result)) = result.recv() else { break };
            if take(job, result).is_break() {
                break;
            }
        }
        // Workers that wait for room learn of it.
        drop(results);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn results_come_in_order_though_jobs_take_different_times() {
        for workers in [1, 2, 5] {
            let mut taken = Vec::new();
            in_order(
                vec![(); workers],
                0..40u64,
                |(), job| {
                    thread::sleep(Duration::from_micros(500 * (job * 7 % 5)));
                    job * 2
                },
                |job, double| {
                    assert_eq!(double, job * 2);
                    taken.push(job);
                    ControlFlow::Continue(())
                },
            );
            assert_eq!(taken, (0..40).collect::<Vec<_>>(), "{workers} workers");
        }
    }

    #[test]
    fn jobs_are_asked_for_only_a_little_ahead() {
        let asked = AtomicUsize::new(0);
        let jobs = std::iter::repeat_with(|| asked.fetch_add(1, Ordering::Relaxed));
        let mut taken = 0;
        in_order(
            vec![(); 2],
            jobs,
            |(), _| (),
            |_, ()| {
                taken += 1;
                assert!(asked.load(Ordering::Relaxed) <= taken + (AHEAD + 2) * 2);
                thread::sleep(Duration::from_millis(1));
                if taken == 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        assert_eq!(taken, 20);
    }

    #[test]
    fn a_slow_job_holds_up_the_others_before_they_pile_up() {
        let done = AtomicUsize::new(0);
        let work = |_: &mut (), job: &usize| {
            if *job == 0 {
                thread::sleep(Duration::from_millis(60));
                return done.load(Ordering::Relaxed);
            }
            done.fetch_add(1, Ordering::Relaxed)
        };
        in_order(vec![(); 3], 0..1000, work, |job, before| {
            assert!(job > 0 || before <= AHEAD * 3 + 3, "{before} results wait for the first");
            ControlFlow::Continue(())
        });
    }

    #[test]
    fn a_panic_is_passed_on_and_nobody_waits() {
        for workers in [1, 3] {
            let in_work =
                || in_order(vec![(); workers], 0..9, |(), job| assert!(*job != 4), |_, ()| ControlFlow::Continue(()));
            assert!(std::panic::catch_unwind(in_work).is_err());
            let jobs = (0..9).inspect(|job| assert!(*job != 4));
            let in_jobs = || in_order(vec![(); workers], jobs, |(), _| (), |_, ()| ControlFlow::Continue(()));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(in_jobs)).is_err());
        }
    }
}
