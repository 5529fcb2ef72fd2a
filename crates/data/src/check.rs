//! The doctor: what is wrong with photos and their folders, found before training, each with a remedy.

mod alike;
mod classes;
mod fault;
mod photo;

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use crate::dataset::{Dataset, Splits, Target};
use crate::error::Error;
use crate::queue::Queue;

pub use fault::{Fault, Kind, Severity};
use photo::Seen;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Photos to learn from.
    pub train: usize,
    /// Photos to check with, where the data has a split.
    pub validation: Option<usize>,
    /// The classes, in their order.
    pub classes: Vec<Class>,
    /// Shorter sides of the photos that can be read, in pixels: the least, the median, the most.
    pub short_sides: Option<[usize; 3]>,
    /// What is wrong, the worst first.
    pub faults: Vec<Fault>,
}

/// A class and how many photos it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Photos to learn from.
    pub train: usize,
    /// Photos to check with.
    pub validation: usize,
}

/// A photo of either part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Whether it is to check with.
    is_validation: bool,
    /// Its number there.
    index: usize,
}

/// The data, both parts as one list.
struct Photos<'a> {
    splits: &'a Splits,
}

impl Photos<'_> {
    fn len(&self) -> usize {
        self.splits.train.len() + self.splits.validation.as_ref().map_or(0, Dataset::len)
    }

    fn place(&self, number: usize) -> Place {
        match number.checked_sub(self.splits.train.len()) {
            None => Place { is_validation: false, index: number },
            Some(index) => Place { is_validation: true, index },
        }
    }

    fn part(&self, place: Place) -> &Dataset {
        match &self.splits.validation {
            Some(validation) if place.is_validation => validation,
            _ => &self.splits.train,
        }
    }

    fn is_validation(&self, number: usize) -> bool {
        self.place(number).is_validation
    }

    fn name(&self, number: usize) -> String {
        let place = self.place(number);
        self.part(place).name(place.index)
    }

    fn target(&self, number: usize) -> &Target {
        let place = self.place(number);
        &self.part(place).items()[place.index].target
    }

    fn see(&self, number: usize) -> Seen {
        let place = self.place(number);
        Seen::of(self.part(place), place.index)
    }
}

/// Looks at every photo of what [`Splits::open`] takes, with the validation photos of `validation` where the data has none
/// of its own, on so many threads. `watch` is told how many photos were seen, of how many, and may end it.
///
/// # Errors
/// Data that cannot be opened at all, as [`Dataset::open`] lists. `Ok(None)` where `watch` ended it.
pub fn check(
    path: &Path,
    validation: Option<&Path>,
    threads: usize,
    watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
) -> Result<Option<Report>, Error> {
    let splits = Splits::open_as_found(path, validation)?;
    let photos = Photos { splits: &splits };
    let Some(seen) = look(&photos, threads, watch) else { return Ok(None) };

    let mut faults = Vec::new();
    photo::faults(&photos, &seen, &mut faults);
    alike::faults(&photos, &seen, &mut faults);
    let classes = classes::count(&splits);
    classes::faults(&splits, &classes, &mut faults);
    faults.sort_by_key(|fault| fault.kind);
    let mut sides: Vec<usize> = seen.iter().filter_map(|seen| Some(seen.ok()?.short_side())).collect();
    sides.sort_unstable();
    let short_sides = match sides[..] {
        [] => None,
        [first, ..] => Some([first, sides[sides.len() / 2], sides[sides.len() - 1]]),
    };
    let validation = splits.validation.as_ref().map(Dataset::len);
    Ok(Some(Report { train: splits.train.len(), validation, classes, short_sides, faults }))
}

/// Every photo, in order; `None` where `watch` ended it.
fn look(photos: &Photos, threads: usize, watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Option<Vec<Seen>> {
    /// Photos ahead of the taker, a worker.
    const AHEAD: usize = 8;
    let total = photos.len();
    let queue = Queue::new(0, total, AHEAD * threads.max(1));
    let mut all = Vec::with_capacity(total);
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(number) = queue.claim() {
                    queue.put(number, photos.see(number));
                }
            });
        }
        while let Ok(Some(seen)) = queue.take() {
            all.push(seen);
            if watch(all.len(), total).is_break() {
                break;
            }
        }
        queue.stop();
    });
    (all.len() == total).then_some(all)
}
