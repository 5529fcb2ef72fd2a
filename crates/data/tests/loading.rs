//! Batches: equal bits whoever makes them, full whatever is broken.

mod common;

use common::{folder, photo, shared, write};
use mobilenet_data::auto::Auto;
use mobilenet_data::crop::Border;
use mobilenet_data::mix::{Erase, Mix};
use mobilenet_data::{
    Augment, Batch, Dataset, Error, Loader, LoaderOptions, Mixed, Part, Sampling, Target, augment::Crop,
};
use mobilenet_net::preprocessing::{ChannelOrder, Filter, Preprocessing, Resize};
use std::collections::BTreeSet;
use std::sync::Arc;
use tempfile::TempDir;

/// Levels themselves, at 8×8.
fn preprocessing() -> Preprocessing {
    Preprocessing {
        resize: Resize::Squash,
        size: [8, 8],
        filter: Filter::Bilinear,
        mean: [0.0; 3],
        std: [1.0 / 255.0; 3],
        channel_order: ChannelOrder::Rgb,
        background_class: false,
    }
}

fn everything() -> Augment {
    Augment {
        crop: Crop::Padded { pad: 2, border: Border::Reflect },
        flip: 0.5,
        auto: Some(Auto::Rand { count: 2, magnitude: 15 }),
        erase: Some(Erase { noise: true, ..Erase::default() }),
        mix: Mix { mixup: 0.2, cutmix: 1.0 },
        ..Augment::none()
    }
}

/// `photos` of two classes; a photo's first level is its index. Those in `broken` are cut short.
fn set(photos: usize, broken: &[usize]) -> (TempDir, Arc<Dataset>) {
    let dir = folder(&[]);
    for index in 0..photos {
        let class = if index < photos.div_ceil(2) { "a" } else { "b" };
        let bytes = photo([index as u8, 7, 9]);
        let end = if broken.contains(&index) { 20 } else { bytes.len() };
        write(dir.path(), &format!("{class}/{index:03} ü.bmp"), &bytes[..end]);
    }
    let set = Dataset::open(dir.path()).unwrap();
    (dir, Arc::new(set))
}

fn training(batch: usize, augment: Augment) -> LoaderOptions {
    LoaderOptions::training(batch, 11, preprocessing(), augment)
}

fn all(loader: &Loader, epoch: u64, start: usize) -> Vec<Batch> {
    loader.epoch(epoch, start).map(Result::unwrap).collect()
}

fn indices(batches: &[Batch]) -> Vec<usize> {
    batches.iter().flat_map(|batch| batch.indices.clone()).collect()
}

#[test]
fn bits_are_equal_for_any_number_of_workers_cache_and_resumption() {
    let (_dir, set) = set(61, &[3, 40, 41]);
    let reference = Loader::new(Arc::clone(&set), LoaderOptions { workers: 0, ..training(6, everything()) });
    let epochs = [all(&reference, 0, 0), all(&reference, 1, 0)];
    assert_ne!(indices(&epochs[0]), indices(&epochs[1]));
    assert_eq!(epochs[0].len(), reference.batches());
    for workers in [0, 1, 2, 3, 20] {
        for cache_bytes in [0, 100, 1 << 20] {
            let options = LoaderOptions { workers, cache_bytes, ..training(6, everything()) };
            let loader = Loader::new(Arc::clone(&set), options);
            // Resumed in the second epoch first, without the first one's memory of what is broken.
            for start in [7, 0, 10, 11, 99] {
                assert_eq!(all(&loader, 1, start), epochs[1][start.min(11)..], "{workers} workers, from {start}");
            }
            assert_eq!(all(&loader, 0, 0), epochs[0]);
        }
    }
}

#[test]
fn seeds_change_order_and_pixels() {
    let (_dir, set) = set(20, &[]);
    let with = |seed| all(&Loader::new(Arc::clone(&set), LoaderOptions { seed, ..training(5, everything()) }), 0, 0);
    assert_eq!(with(1), with(1));
    assert_ne!(indices(&with(1)), indices(&with(2)));
}

#[test]
fn unreadable_photos_are_replaced_named_once_and_counted() {
    let (dir, set) = set(20, &[3, 17]);
    let loader = Loader::new(Arc::clone(&set), LoaderOptions { workers: 2, ..training(5, Augment::none()) });
    for epoch in 0..3 {
        let batches = all(&loader, epoch, 0);
        assert!(batches.iter().all(|batch| batch.len() == 5));
        let seen = indices(&batches);
        assert!(!seen.contains(&3) && !seen.contains(&17));
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 18);
        for batch in &batches {
            for (k, &index) in batch.indices.iter().enumerate() {
                assert_eq!(batch.images[k * 192].round() as usize, index);
                assert_eq!(batch.targets[k], Target::Class(u32::from(index >= 10)));
            }
        }
    }
    let unreadable = loader.unreadable();
    assert_eq!(unreadable.iter().map(|photo| photo.index).collect::<Vec<_>>(), [3, 17]);
    let name = dir.path().join("a/003 ü.bmp").display().to_string();
    assert!(unreadable[0].message.starts_with(&name), "{}", unreadable[0].message);
}

#[test]
fn evaluation_leaves_unreadable_photos_out_and_keeps_the_order() {
    let (_dir, set) = set(11, &[1, 8, 9]);
    for workers in [0, 2] {
        let options = LoaderOptions { workers, ..LoaderOptions::evaluation(2, preprocessing()) };
        let batches = all(&Loader::new(Arc::clone(&set), options), 5, 0);
        assert_eq!(indices(&batches), [0, 2, 3, 4, 5, 6, 7, 10]);
        // Photos 8 and 9 were a batch of their own.
        assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [1, 2, 2, 2, 1]);
        assert!(batches.iter().all(|batch| batch.images.len() == batch.len() * 192));
    }
}

#[test]
fn a_set_of_unreadable_photos_is_an_error_in_training_and_in_evaluation() {
    let (_dir, set) = set(4, &[0, 1, 2, 3]);
    for options in [training(2, Augment::none()), LoaderOptions::evaluation(2, preprocessing())] {
        for workers in [0, 2] {
            let loader = Loader::new(Arc::clone(&set), LoaderOptions { workers, ..options });
            let mut epoch = loader.epoch(0, 0);
            let error = epoch.next().unwrap().unwrap_err();
            assert!(matches!(error, Error::AllUnreadable { photos: 4, .. }), "{error}");
            assert!(error.to_string().starts_with("none of the 4 photos can be read; the first: /"));
            assert!(epoch.next().is_none());
        }
    }
}

#[test]
fn every_photo_comes_once_and_no_batch_is_of_one() {
    let (_dir, set) = set(13, &[]);
    let batches = all(&Loader::new(Arc::clone(&set), training(4, Augment::none())), 0, 0);
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 3, 2]);
    let mut seen = indices(&batches);
    seen.sort_unstable();
    assert_eq!(seen, (0..13).collect::<Vec<_>>());
    let ones = all(&Loader::new(set, training(1, everything())), 0, 0);
    assert!(ones.len() == 13 && ones.iter().all(|batch| batch.len() == 1));
}

#[test]
fn parts_together_are_the_whole_batches_whatever_is_mixed_or_broken() {
    let (_dir, set) = set(23, &[4, 11]);
    for augment in [Augment::none(), everything()] {
        let whole = all(&Loader::new(Arc::clone(&set), training(7, augment)), 2, 1);
        // Batches of 7, 7 and 2: of eight parts some have no photo.
        for of in [2, 3, 8] {
            let parts: Vec<_> = (0..of)
                .map(|index| {
                    let options = LoaderOptions { part: Part { index, of }, ..training(7, augment) };
                    all(&Loader::new(Arc::clone(&set), options), 2, 1)
                })
                .collect();
            for (i, whole) in whole.iter().enumerate() {
                let mut joined =
                    Batch { size: whole.size, mixed: whole.mixed.is_some().then(Mixed::default), ..Batch::default() };
                for part in parts.iter().map(|batches| &batches[i]) {
                    assert_eq!(part.first, joined.len());
                    joined.images.extend(&part.images);
                    joined.targets.extend(part.targets.iter().cloned());
                    joined.indices.extend(&part.indices);
                    if let (Some(joined), Some(mixed)) = (&mut joined.mixed, &part.mixed) {
                        joined.others.extend(mixed.others.iter().cloned());
                        joined.shares.extend(&mixed.shares);
                    }
                }
                assert!(joined == *whole, "batch {i} in {of} parts");
            }
        }
    }
}

#[test]
fn parts_of_evaluation_show_every_photo_once_and_may_have_none() {
    let (_dir, set) = set(5, &[2]);
    let mut seen = Vec::new();
    for index in 0..6 {
        let options = LoaderOptions { part: Part { index, of: 6 }, ..LoaderOptions::evaluation(4, preprocessing()) };
        seen.extend(indices(&all(&Loader::new(Arc::clone(&set), options), 0, 0)));
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 3, 4]);
}

#[test]
fn mixup_mixes_each_photo_with_the_one_before_it() {
    let (_dir, set) = set(6, &[]);
    let plain = all(&Loader::new(Arc::clone(&set), training(6, Augment::none())), 0, 0).remove(0);
    let mix = Mix { mixup: 1.0, cutmix: 0.0 };
    let mixed = all(&Loader::new(set, training(6, Augment { mix, ..Augment::none() })), 0, 0).remove(0);
    let other = mixed.mixed.unwrap();
    assert_eq!(mixed.targets, plain.targets);
    for k in 0..6 {
        let before = (k + 5) % 6;
        assert_eq!(other.others[k], plain.targets[before]);
        let share = other.shares[k];
        let expected = plain.images[k * 192] * share + plain.images[before * 192] * (1.0 - share);
        assert!((mixed.images[k * 192] - expected).abs() < 1e-4);
    }
}

#[test]
fn cutmix_pastes_as_much_as_its_share_says() {
    let (_dir, set) = set(6, &[]);
    let mix = Mix { mixup: 0.0, cutmix: 1.0 };
    let loader = Loader::new(set, training(6, Augment { mix, ..Augment::none() }));
    let mut shares = Vec::new();
    for epoch in 0..40 {
        let batch = all(&loader, epoch, 0).remove(0);
        let mixed = batch.mixed.unwrap();
        for (k, image) in batch.images.chunks_exact(192).enumerate() {
            let own = image[..64].iter().filter(|value| value.round() as usize == batch.indices[k]).count();
            assert!((mixed.shares[k] - own as f32 / 64.0).abs() < 1e-6);
        }
        shares.push(mixed.shares[0]);
    }
    assert!(shares.iter().any(|&share| share < 0.5) && shares.iter().any(|&share| share > 0.9));
}

#[test]
fn the_resolution_may_change_between_epochs_and_memory_comes_back() {
    let (_dir, set) = set(9, &[]);
    let mut loader = Loader::new(set, training(3, everything()));
    for side in [8, 12, 5] {
        loader.set_options(LoaderOptions {
            preprocessing: Preprocessing { size: [side, side + 1], ..preprocessing() },
            ..*loader.options()
        });
        for batch in loader.epoch(0, 0) {
            let batch = batch.unwrap();
            assert_eq!((batch.size, batch.images.len()), ([side, side + 1], 9 * side * (side + 1)));
            loader.recycle(batch);
        }
    }
}

#[test]
fn an_epoch_may_be_left_at_any_time() {
    let (_dir, set) = set(30, &[]);
    let loader = Loader::new(set, LoaderOptions { workers: 3, ..training(2, everything()) });
    for taken in [0, 1, 5] {
        assert_eq!(loader.epoch(0, 0).take(taken).count(), taken);
    }
}

#[test]
fn cifar_10_loads() {
    let Some(shared) = shared() else { return };
    let set = Arc::new(Dataset::open(shared.join("cifar10_test_a.csv")).unwrap());
    let small = Preprocessing { size: [32, 32], ..preprocessing() };
    let loader = Loader::new(set, LoaderOptions::training(64, 0, small, Augment::small()));
    assert_eq!(loader.epoch(0, 70).map(|batch| batch.unwrap().len()).sum::<usize>(), 5000 - 70 * 64);
    assert!(loader.unreadable().is_empty());
}

#[test]
fn a_balanced_epoch_draws_classes_equally_and_resumes_to_the_same_bits() {
    let (_dir, set) = imbalanced();
    let balanced = LoaderOptions { sampling: Sampling::Balanced, workers: 0, ..training(6, everything()) };
    let epochs = [0, 1].map(|epoch| all(&Loader::new(Arc::clone(&set), balanced), epoch, 0));
    for epoch in &epochs {
        let drawn = indices(epoch);
        assert_eq!(drawn.len(), 40);
        assert_eq!(drawn.iter().filter(|&&photo| photo >= 36).count(), 20);
    }
    assert_ne!(indices(&epochs[0]), indices(&epochs[1]));
    for workers in [1, 3] {
        let loader = Loader::new(Arc::clone(&set), LoaderOptions { workers, ..balanced });
        for start in [5, 0, 6] {
            assert_eq!(all(&loader, 1, start), epochs[1][start..], "{workers} workers, from {start}");
        }
    }
}

#[test]
fn a_photo_that_is_drawn_again_is_changed_otherwise() {
    let (_dir, set) = imbalanced();
    let noise = Augment { erase: Some(Erase { probability: 1.0, noise: true, ..Erase::default() }), ..Augment::none() };
    let options = LoaderOptions { sampling: Sampling::Balanced, ..training(40, noise) };
    let batch = &all(&Loader::new(set, options), 0, 0)[0];
    let length = batch.images.len() / batch.len();
    let of_rare =
        |&(at, &photo): &(usize, &usize)| (photo == 36).then(|| batch.images[at * length..][..length].to_vec());
    let shown: Vec<Vec<f32>> = batch.indices.iter().enumerate().filter_map(|turn| of_rare(&turn)).collect();
    assert!(shown.len() >= 5);
    assert!((1..shown.len()).all(|i| !shown[..i].contains(&shown[i])), "all differ");
}

#[test]
fn evaluation_heeds_no_sampling() {
    let (_dir, set) = imbalanced();
    let options = LoaderOptions { sampling: Sampling::Balanced, ..LoaderOptions::evaluation(7, preprocessing()) };
    assert_eq!(indices(&all(&Loader::new(set, options), 0, 0)), (0..40).collect::<Vec<_>>());
}

/// 36 photos of one class and 4 of another, by their indices.
fn imbalanced() -> (TempDir, Arc<Dataset>) {
    let dir = folder(&[]);
    for index in 0..40u8 {
        let class = if index < 36 { "a" } else { "b" };
        write(dir.path(), &format!("{class}/{index:03}.bmp"), &photo([index, 7, 9]));
    }
    let set = Dataset::open(dir.path()).unwrap();
    (dir, Arc::new(set))
}
