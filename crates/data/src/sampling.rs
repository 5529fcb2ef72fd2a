//! How often photos of each class are drawn in training.

use std::collections::BTreeMap;

use crate::dataset::Item;
use crate::order::{self, Draw, stream};
use crate::random::Random;

/// Which photos an epoch draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// Every photo once.
    #[default]
    Natural,
    /// As many photos, of every class equally often, give or take one; of a class each photo at most once more than any
    /// other. Where photos have several labels, those of every label equally often, photos without one being a class of
    /// their own: a photo is then drawn for each of its labels.
    Balanced,
}

/// The order of an epoch that draws every class equally often.
pub(crate) fn balanced(items: &[Item], seed: u64, epoch: u64) -> Vec<Draw> {
    let mut random = Random::new(seed, stream(epoch, order::ORDER), 0);
    let mut classes = by_class(items);
    // The first classes give one photo more: in each epoch others.
    random.shuffle(&mut classes);
    let (each, more) = (items.len() / classes.len().max(1), items.len() % classes.len().max(1));
    let mut photos = Vec::with_capacity(items.len());
    for (i, class) in classes.iter_mut().enumerate() {
        let mut wanted = each + usize::from(i < more);
        while wanted > 0 {
            random.shuffle(class);
            let round = wanted.min(class.len());
            photos.extend_from_slice(&class[..round]);
            wanted -= round;
        }
    }
    random.shuffle(&mut photos);
    let mut drawn = vec![0; items.len()];
    let draw = |photo: usize| {
        drawn[photo] += 1;
        Draw { photo, before: drawn[photo] - 1 }
    };
    photos.into_iter().map(draw).collect()
}

/// The photos of every class that has some.
fn by_class(items: &[Item]) -> Vec<Vec<usize>> {
    let mut classes: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
    for (photo, item) in items.iter().enumerate() {
        match item.target.labels() {
            [] => classes.entry(None).or_default().push(photo),
            labels => labels.iter().for_each(|&label| classes.entry(Some(label)).or_default().push(photo)),
        }
    }
    classes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Source, Target};
    use proptest::prelude::*;

    fn items(targets: impl IntoIterator<Item = Target>) -> Vec<Item> {
        let item = |target| Item { source: Source::File("x".into()), target };
        targets.into_iter().map(item).collect()
    }

    fn times(draws: &[Draw], photos: usize) -> Vec<usize> {
        let mut times = vec![0; photos];
        draws.iter().for_each(|draw| times[draw.photo] += 1);
        times
    }

    proptest! {
        #[test]
        fn classes_are_drawn_equally_often_and_photos_of_a_class_too(
            counts in prop::collection::vec(1usize..40, 1..8), seed: u64, epoch in 0u64..9,
        ) {
            let classes = || counts.iter().enumerate().flat_map(|(class, &count)| vec![class as u32; count]);
            let items = items(classes().map(Target::Class));
            let draws = balanced(&items, seed, epoch);
            prop_assert_eq!(draws.len(), items.len());
            let times = times(&draws, items.len());
            let each = items.len() / counts.len();
            let mut start = 0;
            for count in counts {
                let of_class = &times[start..start + count];
                let all: usize = of_class.iter().sum();
                prop_assert!(all == each || all == each + 1, "{all} of {each}");
                prop_assert!(of_class.iter().max().unwrap() - of_class.iter().min().unwrap() <= 1);
                start += count;
            }
        }

        #[test]
        fn draws_of_a_photo_are_counted(seed: u64) {
            let items = items([0, 0, 0, 0, 0, 0, 1].map(Target::Class));
            let mut before: Vec<usize> =
                balanced(&items, seed, 0).iter().filter(|draw| draw.photo == 6).map(|draw| draw.before).collect();
            before.dedup();
            prop_assert!(before == [0, 1, 2] || before == [0, 1, 2, 3], "{before:?}");
        }
    }

    #[test]
    fn an_order_depends_on_seed_and_epoch() {
        let items = items((0..40).map(|i| Target::Class(i % 3)));
        assert_eq!(balanced(&items, 1, 2), balanced(&items, 1, 2));
        assert_ne!(balanced(&items, 1, 2), balanced(&items, 1, 3));
        assert_ne!(balanced(&items, 1, 2), balanced(&items, 2, 2));
        assert_eq!(balanced(&[], 1, 2), []);
    }

    #[test]
    fn a_rare_label_is_drawn_as_often_as_the_others() {
        let labels = |i: u32| match i {
            0 => vec![7],
            i if i % 10 == 1 => vec![],
            i => vec![i % 2, 2],
        };
        let items = items((0..100).map(|i| Target::Labels(labels(i).into())));
        // Labels 0, 1, 2 and 7, and photos without any.
        let times = times(&balanced(&items, 1, 0), 100);
        assert_eq!(times[0], 20);
        assert_eq!((0..100).filter(|i| i % 10 == 1).map(|i| times[i]).sum::<usize>(), 20);
    }
}
