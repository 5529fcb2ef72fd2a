//! The doctor: what is wrong with photos and their folders, found before training, each with a remedy.

pub(crate) mod alike;
mod classes;
mod fault;
pub(crate) mod photo;

use std::ops::ControlFlow;
use std::path::Path;

use mobilenet_run::ordered::in_order;

use crate::dataset::{Dataset, Target};
use crate::error::Error;
use crate::splits::Splits;

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

/// The data, both parts as one list.
struct Photos<'a> {
    splits: &'a Splits,
}

impl Photos<'_> {
    fn len(&self) -> usize {
        self.splits.train.len() + self.splits.validation.as_ref().map_or(0, Dataset::len)
    }

    /// A photo's part, and its number there.
    fn at(&self, number: usize) -> (&Dataset, usize) {
        let Splits { train, validation } = self.splits;
        match (number.checked_sub(train.len()), validation) {
            (Some(index), Some(validation)) => (validation, index),
            _ => (train, number),
        }
    }

    fn is_validation(&self, number: usize) -> bool {
        number >= self.splits.train.len()
    }

    fn name(&self, number: usize) -> String {
        let (part, index) = self.at(number);
        part.name(index)
    }

    fn target(&self, number: usize) -> &Target {
        let (part, index) = self.at(number);
        &part.items()[index].target
    }

    fn see(&self, number: usize) -> Seen {
        let (part, index) = self.at(number);
        Seen::of(part, index)
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

    let mut sides: Vec<usize> = seen.iter().filter_map(|seen| Some(seen.ok()?.short_side())).collect();
    sides.sort_unstable();
    let short_sides = match sides[..] {
        [] => None,
        [first, ..] => Some([first, sides[sides.len() / 2], sides[sides.len() - 1]]),
    };

    let mut faults = Vec::new();
    photo::faults(&photos, &seen, short_sides.map_or(0, |[_, median, _]| median), &mut faults);
    alike::faults(&photos, &seen, &mut faults);
    let classes = classes::count(&splits);
    classes::faults(&splits, &classes, &mut faults);
    faults.sort_by_key(|fault| fault.kind);
    let validation = splits.validation.as_ref().map(Dataset::len);
    Ok(Some(Report { train: splits.train.len(), validation, classes, short_sides, faults }))
}

/// Every photo, in order; `None` where `watch` ended it.
fn look(photos: &Photos, threads: usize, watch: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Option<Vec<Seen>> {
    let total = photos.len();
    let mut all = Vec::with_capacity(total);
    let take = |_, seen| {
        all.push(seen);
        watch(all.len(), total)
    };
    in_order(vec![(); threads.max(1)], 0..total, |(), &number| photos.see(number), take);
    (all.len() == total).then_some(all)
}
