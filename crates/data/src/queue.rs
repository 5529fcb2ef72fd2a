//! Numbered jobs, done by any number of workers ahead of one taker, who gets the results in order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Results between workers and taker.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Tells workers that a job may be claimed, or that there are none.
    room: Condvar,
    /// Tells the taker that a result is there.
    ready: Condvar,
    /// Most jobs that are claimed and not taken.
    depth: usize,
    end: usize,
}

struct State<T> {
    claimed: usize,
    taken: usize,
    done: BTreeMap<usize, T>,
    stopped: bool,
    failed: bool,
}

impl<T> Queue<T> {
    /// For the jobs `start..end`.
    pub(crate) fn new(start: usize, end: usize, depth: usize) -> Queue<T> {
        let state = State { claimed: start, taken: start, done: BTreeMap::new(), stopped: false, failed: false };
        Queue { state: Mutex::new(state), room: Condvar::new(), ready: Condvar::new(), depth, end }
    }

    /// Nothing under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, when there is room for its result; none when all were claimed or the queue is stopped.
    pub(crate) fn claim(&self) -> Option<usize> {
        let full = |state: &mut State<T>| {
            !state.stopped && state.claimed < self.end && state.claimed >= state.taken + self.depth
        };
        let mut state = self.room.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if state.stopped || state.claimed >= self.end {
            return None;
        }
        state.claimed += 1;
        Some(state.claimed - 1)
    }

    /// Gives a job's result.
    pub(crate) fn put(&self, index: usize, result: T) {
        self.lock().done.insert(index, result);
        self.ready.notify_one();
    }

    /// The next result in order, or `Ok(None)` after the last; `Err` if a worker failed.
    pub(crate) fn take(&self) -> Result<Option<T>, ()> {
        let missing = |state: &mut State<T>| {
            state.taken < self.end && !state.failed && !state.stopped && !state.done.contains_key(&state.taken)
        };
        let mut state = self.ready.wait_while(self.lock(), missing).unwrap_or_else(PoisonError::into_inner);
        let index = state.taken;
        let result = state.done.remove(&index);
        if result.is_none() {
            return if state.failed { Err(()) } else { Ok(None) };
        }
        state.taken += 1;
        drop(state);
        self.room.notify_one();
        Ok(result)
    }

    /// Ends the workers.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
    }

    /// Tells the taker that a worker is gone with its job.
    pub(crate) fn fail(&self) {
        self.lock().failed = true;
        self.ready.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn results_come_in_order_and_no_further_ahead_than_asked() {
        let queue = Queue::new(3, 40, 4);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while let Some(index) = queue.claim() {
                        let state = queue.lock();
                        assert!(state.claimed <= state.taken + 4);
                        drop(state);
                        queue.put(index, index);
                    }
                });
            }
            let taken: Vec<usize> = std::iter::from_fn(|| queue.take().unwrap()).collect();
            assert_eq!(taken, (3..40).collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_failed_worker_is_told_of_and_not_waited_for() {
        let queue = Queue::new(0, 2, 2);
        assert_eq!(queue.claim(), Some(0));
        queue.put(0, 'a');
        assert_eq!(queue.claim(), Some(1));
        queue.fail();
        assert_eq!((queue.take(), queue.take()), (Ok(Some('a')), Err(())));
    }

    #[test]
    fn stopping_frees_workers_that_wait_for_room() {
        let queue = Queue::<()>::new(0, 9, 1);
        assert_eq!(queue.claim(), Some(0));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.claim());
            queue.stop();
            assert_eq!(waiting.join().unwrap(), None);
        });
    }
}
