//! Memory for values that live for some steps each: lifetimes, largest first, into the smallest gap that fits.

use std::ops::Range;

/// A value that needs memory from its first step to its last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Its size.
    pub len: usize,
    /// The step that writes it.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where each value lies, and the memory that all take together. Values whose lifetimes overlap share no memory.
/// Offsets are multiples of `align`.
pub fn plan(values: &[Lifetime], align: usize) -> (Vec<Range<usize>>, usize) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(values[i].len), i));
    let mut placed: Vec<(usize, Range<usize>)> = Vec::with_capacity(values.len());
    for i in order {
        let mut taken: Vec<&Range<usize>> =
            placed.iter().filter(|(j, _)| values[*j].overlaps(&values[i])).map(|(_, range)| range).collect();
        taken.sort_by_key(|range| range.start);
        let start = best_gap(&taken, values[i].len, align);
        placed.push((i, start..start + values[i].len));
    }
    placed.sort_by_key(|(i, _)| *i);
    let ranges: Vec<Range<usize>> = placed.into_iter().map(|(_, range)| range).collect();
    let total = ranges.iter().map(|r| r.end).max().unwrap_or(0);
    (ranges, total)
}

/// Start of the smallest gap between `taken` (sorted by start) that holds `len`; behind all of them where none does.
fn best_gap(taken: &[&Range<usize>], len: usize, align: usize) -> usize {
    let mut best: Option<(usize, usize)> = None;
    let mut free_from = 0usize;
    for range in taken {
        let gap = range.start.saturating_sub(free_from);
        if gap >= len && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, free_from));
        }
        free_from = free_from.max(range.end.next_multiple_of(align));
    }
    best.map_or(free_from, |(_, start)| start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_needs_its_two_largest_neighbours() {
        let chain = [(100, 0, 1), (600, 1, 2), (300, 2, 3), (50, 3, 4)];
        let values = chain.map(|(len, first, last)| Lifetime { len, first, last });
        assert_eq!(plan(&values, 1).1, 900);
    }

    proptest! {
        #[test]
        fn values_alive_together_never_share_memory(
            values in prop::collection::vec((1usize..500, 0usize..40, 0usize..10), 1..60),
        ) {
            let values: Vec<Lifetime> =
                values.into_iter().map(|(len, first, span)| Lifetime { len, first, last: first + span }).collect();
            let (ranges, total) = plan(&values, 16);
            for (i, a) in ranges.iter().enumerate() {
                prop_assert_eq!((a.start % 16, a.len()), (0, values[i].len));
                prop_assert!(a.end <= total);
                for (j, b) in ranges.iter().enumerate().skip(i + 1) {
                    prop_assert!(!values[i].overlaps(&values[j]) || a.end <= b.start || b.end <= a.start);
                }
            }
        }
    }
}
