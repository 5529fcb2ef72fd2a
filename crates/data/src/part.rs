//! Which photos of a batch are one process's, where several learn a batch together.

use std::ops::Range;

/// One of several equal parts of every batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which, counted from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Part {
    /// Batches as they are.
    pub const WHOLE: Part = Part { index: 0, of: 1 };

    /// What the part has of a batch's positions: parts differ by one photo at most, and some are empty where there are
    /// more parts than photos.
    pub(crate) fn range(self, batch: &Range<usize>) -> Range<usize> {
        let bound = |index: usize| batch.start + batch.len() * index / self.of;
        bound(self.index)..bound(self.index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_batch_and_differ_by_one_photo_at_most() {
        for (of, photos) in [(1, 7), (2, 7), (4, 8), (4, 3), (5, 12), (3, 0)] {
            let parts: Vec<_> = (0..of).map(|index| Part { index, of }.range(&(10..10 + photos))).collect();
            assert_eq!((parts[0].start, parts[of - 1].end), (10, 10 + photos));
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
            let sizes = parts.iter().map(Range::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1, "{parts:?}");
        }
    }
}
