//! Many photos, a thread each: the same answers in the same order, whatever the threads do.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mobilenet_net::arch::{self, Spec};
use mobilenet_net::{init, weights};
use mobilenet_run::classifier::ClassifierOptions;
use mobilenet_run::{Classifier, Image, Prediction};

const PHOTOS: usize = 9;

fn classifier(threads: usize) -> Classifier {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let graph = arch::find("mobilenet_v3_small").unwrap().graph(&Spec { classes: 4, ..Spec::default() }).unwrap();
    weights::save(&path, &init::random(&graph, 3)).unwrap();
    let options = ClassifierOptions { threads: Some(threads), ..ClassifierOptions::default() };
    Classifier::open_with(&path, &options).unwrap()
}

fn photo(n: usize) -> Image {
    let (width, height) = (40 + n, 50);
    let rgb = (0..width * height * 3).map(|i| (i * (n + 3) % 251) as u8).collect();
    Image { width, height, rgb }
}

/// The third photo cannot be read; later photos are read sooner.
fn read(n: usize) -> Result<Image, String> {
    std::thread::sleep(Duration::from_millis(2 * (PHOTOS - n) as u64));
    if n == 2 { Err("unreadable".into()) } else { Ok(photo(n)) }
}

#[test]
fn answers_come_in_order_and_are_those_of_photos_one_by_one() {
    let alone = classifier(1);
    let want: Vec<Result<Vec<Prediction>, String>> =
        (0..PHOTOS).map(|n| read(n).map(|image| alone.classify(&image, 4))).collect();
    for threads in [1, 2, 7, 20] {
        let mut got = Vec::new();
        let each = classifier(threads).classify_each(PHOTOS, 4, read, |n, found| {
            assert_eq!(n, got.len(), "{threads} threads");
            got.push(found);
            ControlFlow::Continue(())
        });
        each.unwrap();
        assert!(got == want, "{threads} threads give other answers");
    }
}

#[test]
fn breaking_off_ends_the_threads_and_no_photo_is_no_work() {
    for threads in [1, 2, 7] {
        let (classifier, reads) = (classifier(threads), AtomicUsize::new(0));
        let count = |n| {
            reads.fetch_add(1, Ordering::Relaxed);
            Ok::<_, String>(photo(n % PHOTOS))
        };
        let mut answers = 0;
        let stop = |_, _| {
            answers += 1;
            if answers == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        classifier.classify_each(100_000, 1, count, stop).unwrap();
        assert_eq!(answers, 2);
        // Those whose answers waited, and one more of each thread.
        assert!(reads.into_inner() <= 2 + 8 * threads);
        classifier.classify_each(0, 1, read, |_, _| unreachable!("no photo")).unwrap();
    }
}
