//! Many photos, a thread each: none waits for another's decoding or for a share of one small layer.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;

use crate::arena::Arena;

/// Answers of a thread that wait for an earlier photo's.
const AHEAD: usize = 4;

/// Calls `work` for each of `photos` photos, in as many threads as there are `arenas`, and `take` with the results in the
/// photos' order, which may break off. A thread holds one photo at a time, and a few results.
pub(crate) fn each<T: Send>(
    arenas: Vec<Arena>,
    photos: usize,
    work: impl Fn(usize, &mut Arena) -> T + Sync,
    mut take: impl FnMut(usize, T) -> ControlFlow<()>,
) {
    let threads = arenas.len();
    thread::scope(|scope| {
        let begin = |(first, mut arena): (usize, Arena)| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            let work = &work;
            scope.spawn(move || {
                for photo in (first..photos).step_by(threads) {
                    // Nobody listens any more.
                    if sender.send(work(photo, &mut arena)).is_err() {
                        break;
                    }
                }
            });
            receiver
        };
        let receivers: Vec<_> = arenas.into_iter().enumerate().map(begin).collect();
        for photo in 0..photos {
            // A thread that is gone has panicked, which ends the scope.
            let Ok(result) = receivers[photo % threads].recv() else { break };
            if take(photo, result).is_break() {
                break;
            }
        }
    });
}
