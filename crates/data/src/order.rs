//! Which photos make up which batch.

use crate::random::Random;
use std::ops::Range;

/// What a random number is for: the lowest byte of its stream.
pub(crate) const ORDER: u64 = 1;
/// See [`ORDER`].
pub(crate) const PHOTO: u64 = 2;
/// See [`ORDER`].
pub(crate) const BATCH: u64 = 3;

/// The stream of an epoch's random numbers.
pub(crate) fn stream(epoch: u64, purpose: u64) -> u64 {
    epoch << 8 | purpose
}

/// A photo's turn in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draw {
    /// Its index.
    pub photo: usize,
    /// How often the epoch had it before.
    pub before: usize,
}

impl Draw {
    /// Of `photos` photos, the number that no other turn of the epoch has.
    pub(crate) fn number(self, photos: usize) -> u64 {
        (self.photo + self.before * photos) as u64
    }
}

/// The order of an epoch that draws every photo once, shuffled by seed and epoch or as it is.
pub(crate) fn order(photos: usize, shuffle: Option<(u64, u64)>) -> Vec<Draw> {
    let mut order: Vec<Draw> = (0..photos).map(|photo| Draw { photo, before: 0 }).collect();
    if let Some((seed, epoch)) = shuffle {
        Random::new(seed, stream(epoch, ORDER), 0).shuffle(&mut order);
    }
    order
}

/// How an epoch's photos are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    photos: usize,
    batch: usize,
    batches: usize,
    /// Whether the last batch but one gives a photo to the last.
    lend: bool,
}

impl Division {
    /// Batches of `batch` photos and the rest, which `drop_last` leaves out. Training never ends on a batch of one,
    /// whose statistics are void: the batch before lends it a photo, or, if that would leave one there too, the single
    /// photo is left out. Only a set of one photo, or batches of one, are given as they are.
    pub(crate) fn new(photos: usize, batch: usize, training: bool, drop_last: bool) -> Division {
        let (full, rest) = (photos / batch, photos % batch);
        let single = training && rest == 1 && full > 0;
        let lend = single && batch > 2 && !drop_last;
        let batches = if rest == 0 || drop_last || (single && !lend) { full } else { full + 1 };
        Division { photos, batch, batches, lend }
    }

    pub(crate) fn batches(&self) -> usize {
        self.batches
    }

    /// Positions of a batch's photos in the epoch's order.
    pub(crate) fn range(&self, index: usize) -> Range<usize> {
        let bound = |batches: usize| {
            let lent = usize::from(self.lend && batches + 1 == self.batches);
            (batches * self.batch).min(self.photos) - lent
        };
        bound(index)..bound(index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(photos: usize, batch: usize, training: bool, drop_last: bool) -> Vec<(usize, usize)> {
        let division = Division::new(photos, batch, training, drop_last);
        (0..division.batches()).map(|index| division.range(index)).map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn evaluation_keeps_every_photo() {
        assert_eq!(ranges(9, 4, false, false), [(0, 4), (4, 8), (8, 9)]);
        assert_eq!(ranges(1, 4, false, false), [(0, 1)]);
        assert!(ranges(0, 4, false, false).is_empty());
    }

    #[test]
    fn training_never_ends_on_one_photo() {
        assert_eq!(ranges(9, 4, true, false), [(0, 4), (4, 7), (7, 9)]);
        assert_eq!(ranges(10, 4, true, false), [(0, 4), (4, 8), (8, 10)]);
        assert_eq!(ranges(9, 4, true, true), [(0, 4), (4, 8)]);
        assert_eq!(ranges(5, 2, true, false), [(0, 2), (2, 4)]);
        assert_eq!(ranges(4, 3, true, false), [(0, 2), (2, 4)]);
        assert_eq!(ranges(3, 1, true, false), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(ranges(1, 4, true, false), [(0, 1)]);
        assert_eq!(ranges(1, 4, true, true), []);
    }

    #[test]
    fn an_order_depends_on_seed_and_epoch() {
        let one = order(50, Some((1, 2)));
        assert_eq!(one, order(50, Some((1, 2))));
        assert_ne!(one, order(50, Some((1, 3))));
        assert_ne!(one, order(50, Some((2, 2))));
        assert!(order(3, None).iter().map(|draw| draw.photo).eq(0..3));
    }
}
