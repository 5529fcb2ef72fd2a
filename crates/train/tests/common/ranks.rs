//! A group whose ranks are threads of this process: the arithmetic of many machines without any.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use mobilenet_train::Group;
use mobilenet_train::group::Sums;

/// One of several threads that learn together.
struct Rank {
    rank: usize,
    meeting: Arc<Meeting>,
}

struct Meeting {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    round: u64,
    /// What each rank has brought to the present round.
    parts: Vec<Option<Vec<f64>>>,
    /// Of the last round.
    sum: Vec<f64>,
    /// Whether a rank will not come any more.
    lost: bool,
}

/// Runs `work` as so many ranks at once; their results, in order.
pub fn as_ranks<R: Send>(size: usize, work: impl Fn(Arc<dyn Group>) -> R + Sync) -> Vec<R> {
    let state = State { parts: vec![None; size], ..State::default() };
    let meeting = Arc::new(Meeting { size, state: Mutex::new(state), changed: Condvar::new() });
    thread::scope(|scope| {
        let spawn = |rank| {
            let (work, meeting) = (&work, Arc::clone(&meeting));
            scope.spawn(move || work(Arc::new(Rank { rank, meeting })))
        };
        let ranks: Vec<_> = (0..size).map(spawn).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

impl Drop for Rank {
    /// Others must not wait for one that has gone.
    fn drop(&mut self) {
        self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner).lost = true;
        self.meeting.changed.notify_all();
    }
}

impl Group for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meeting.size
    }

    fn sum(&self, values: &mut [f64]) {
        let mut state = self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner);
        let round = state.round;
        state.parts[self.rank] = Some(values.to_vec());
        if state.parts.iter().all(Option::is_some) {
            // In the order of the ranks, whoever comes last.
            let parts: Vec<Vec<f64>> = state.parts.iter_mut().filter_map(Option::take).collect();
            assert!(parts.iter().all(|part| part.len() == values.len()), "ranks bring different sums to a meeting");
            state.sum = (0..values.len()).map(|i| parts.iter().map(|part| part[i]).sum()).collect();
            state.round += 1;
            self.meeting.changed.notify_all();
        }
        while state.round == round {
            assert!(!state.lost, "a rank is lost");
            state = self.meeting.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        values.copy_from_slice(&state.sum);
    }

    fn sum_while(&self, buckets: &mut [Vec<f32>], work: &mut dyn FnMut(&mut dyn Sums)) {
        let mut started =
            Started { rank: self, next: 0, lens: buckets.iter().map(Vec::len).collect(), sums: Vec::new() };
        work(&mut started);
        assert_eq!(started.sums.len(), buckets.len(), "every bucket is started");
        buckets.iter_mut().zip(started.sums).for_each(|(bucket, sum)| bucket.copy_from_slice(&sum));
    }
}

/// Sums that arrive only when all work is done.
struct Started<'a> {
    rank: &'a Rank,
    next: usize,
    lens: Vec<usize>,
    sums: Vec<Vec<f32>>,
}

impl Sums for Started<'_> {
    fn start(&mut self, fill: &mut dyn FnMut(&mut [f32])) {
        let mut bucket = vec![f32::NAN; self.lens[self.next]];
        self.next += 1;
        fill(&mut bucket);
        let mut sum: Vec<f64> = bucket.into_iter().map(f64::from).collect();
        self.rank.sum(&mut sum);
        self.sums.push(sum.into_iter().map(|v| v as f32).collect());
    }
}
