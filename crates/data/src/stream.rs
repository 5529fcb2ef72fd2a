//! Photos of shards in training: read a segment at a time, and mixed in a part of memory of bounded size, as WebDataset's
//! shuffle buffer does. The order follows from seed and epoch, and the bytes that are in memory from the order.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::dataset::{Dataset, Item, Source};
use crate::order::{self, Draw, stream};
use crate::random::Random;

/// Segments that are mixed at a time: of so many places of the shards photos come next to each other.
const MIXED: u64 = 32;

/// Photos that lie one behind the other in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    photos: Range<usize>,
    archive: usize,
    /// Bytes in the shard, from the first photo to the end of the last.
    bytes: Range<u64>,
}

/// The segments of a sharded data set that is larger than `window` bytes; none where it is smaller, or not sharded.
pub(crate) fn segments(dataset: &Dataset, window: u64) -> Vec<Segment> {
    let total: u64 = dataset.items.iter().map(size).sum();
    if !dataset.is_sharded || total <= window {
        return Vec::new();
    }
    let limit = (window / MIXED).max(1);
    let mut segments: Vec<Segment> = Vec::new();
    for (photo, item) in dataset.items.iter().enumerate() {
        let Source::Member { archive, offset, size, .. } = &item.source else { continue };
        let end = offset + size;
        match segments.last_mut() {
            Some(last) if last.archive == *archive && last.bytes.end <= *offset && end - last.bytes.start <= limit => {
                last.photos.end = photo + 1;
                last.bytes.end = end;
            }
            _ => segments.push(Segment { photos: photo..photo + 1, archive: *archive, bytes: *offset..end }),
        }
    }
    segments
}

fn size(item: &Item) -> u64 {
    match item.source {
        Source::Member { size, .. } => size,
        Source::File(_) => 0,
    }
}

/// The order of an epoch that draws every photo once: segments in random order are read into the window as it gets empty,
/// and photos are drawn from it at random.
pub(crate) fn streamed(items: &[Item], segments: &[Segment], window: u64, seed: u64, epoch: u64) -> Vec<Draw> {
    let mut random = Random::new(seed, stream(epoch, order::ORDER), 0);
    let mut segments: Vec<&Segment> = segments.iter().collect();
    random.shuffle(&mut segments);
    let mut segments = segments.into_iter();
    let (mut inside, mut bytes) = (Vec::new(), 0);
    let mut order = Vec::with_capacity(items.len());
    loop {
        while bytes < window
            && let Some(segment) = segments.next()
        {
            bytes += segment.photos.clone().map(|photo| size(&items[photo])).sum::<u64>();
            inside.extend(segment.photos.clone());
        }
        if inside.is_empty() {
            return order;
        }
        let photo = inside.swap_remove(random.below(inside.len()));
        bytes -= size(&items[photo]);
        order.push(Draw { photo, before: 0 });
    }
}

/// The photos of an epoch that were read and not drawn yet.
pub(crate) struct Ahead {
    segments: Vec<Segment>,
    /// Whether each was read; locked while it is.
    are_read: Vec<Mutex<bool>>,
    photos: Mutex<HashMap<usize, Box<[u8]>>>,
    /// Photos that this part of the epoch does not draw.
    is_left_out: Vec<bool>,
}

impl Ahead {
    /// For the part of an epoch that draws photos from `drawn`, of so many in all.
    pub(crate) fn new<'a>(segments: Vec<Segment>, photos: usize, drawn: impl IntoIterator<Item = &'a Draw>) -> Ahead {
        let mut is_left_out = vec![true; photos];
        drawn.into_iter().for_each(|draw| is_left_out[draw.photo] = false);
        let are_read = segments.iter().map(|_| Mutex::new(false)).collect();
        Ahead { segments, are_read, photos: Mutex::default(), is_left_out }
    }

    /// A photo's bytes, if its segment was or is read now; those of the segment for which `keep` is true stay for later.
    pub(crate) fn take(&self, photo: usize, dataset: &Dataset, keep: impl Fn(usize) -> bool) -> Option<Box<[u8]>> {
        let number = self.segments.partition_point(|segment| segment.photos.end <= photo);
        let segment = self.segments.get(number)?;
        // A failure half-way leaves photos to be read one by one.
        let mut is_read = self.are_read[number].lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *is_read, true) {
            self.read(segment, photo, dataset, keep);
        }
        drop(is_read);
        self.photos.lock().unwrap_or_else(PoisonError::into_inner).remove(&photo)
    }

    fn read(&self, segment: &Segment, due: usize, dataset: &Dataset, keep: impl Fn(usize) -> bool) {
        // A single one larger than a segment is refused where it is read alone, if it is too large at all.
        let Range { start, end } = segment.bytes;
        if segment.photos.len() == 1 {
            return;
        }
        let Ok(bytes) = dataset.archives[segment.archive].bytes(start, end - start) else { return };
        for photo in segment.photos.clone() {
            let Source::Member { offset, size, .. } = dataset.items[photo].source else { continue };
            if photo == due || (!self.is_left_out[photo] && keep(photo)) {
                let own = (offset - start) as usize..(offset - start + size) as usize;
                let own = Box::from(&bytes[own]);
                self.photos.lock().unwrap_or_else(PoisonError::into_inner).insert(photo, own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards with photos of a size each, and their data set.
    fn set(shards: &[Vec<usize>]) -> (tempfile::TempDir, Dataset) {
        let dir = tempfile::tempdir().unwrap();
        for (number, sizes) in shards.iter().enumerate() {
            let mut tar = tar::Builder::new(std::fs::File::create(dir.path().join(format!("{number}.tar"))).unwrap());
            for (i, &size) in sizes.iter().enumerate() {
                let class = (i % 2).to_string().into_bytes();
                // Each photo's bytes tell which it is.
                let photo = vec![(number * 31 + i) as u8; size];
                for (ending, bytes) in [("jpg", photo), ("cls", class)] {
                    let mut header = tar::Header::new_ustar();
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, format!("{i}.{ending}"), &bytes[..]).unwrap();
                }
            }
            tar.finish().unwrap();
        }
        let set = Dataset::open(dir.path()).unwrap();
        (dir, set)
    }

    #[test]
    fn segments_are_parts_of_one_shard_and_no_longer_than_asked_for() {
        let (_dir, set) = set(&[vec![3000; 50], vec![90_000, 1, 1, 90_000], vec![1500; 9]]);
        assert_eq!(segments(&set, 400_000), []);
        let limit = 10_000;
        let segments = segments(&set, 32 * limit);
        assert!(segments.iter().any(|segment| segment.photos.len() > 1));
        assert_eq!(
            segments.iter().flat_map(|segment| segment.photos.clone()).collect::<Vec<_>>(),
            (0..63).collect::<Vec<_>>()
        );
        for segment in &segments {
            assert!(segment.photos.len() == 1 || segment.bytes.end - segment.bytes.start <= limit, "{segment:?}");
        }
    }

    #[test]
    fn what_is_in_memory_stays_within_window_and_segment_and_is_the_photos_bytes() {
        let (_dir, set) = set(&[vec![3000; 80], vec![1500; 90], vec![5000; 70]]);
        let segment = 8192;
        let window = 32 * segment;
        let segments = segments(&set, window);
        let order = streamed(set.items(), &segments, window, 1, 0);
        let ahead = Ahead::new(segments, set.len(), &order);
        let mut most = 0;
        for draw in &order {
            let taken = ahead.take(draw.photo, &set, |_| true);
            let Source::Member { archive, offset, size, .. } = &set.items()[draw.photo].source else { unreachable!() };
            let bytes = set.archives[*archive].bytes(*offset, *size).unwrap();
            assert!(taken.is_none_or(|taken| *taken == *bytes));
            most = most.max(ahead.photos.lock().unwrap().values().map(|bytes| bytes.len() as u64).sum());
        }
        assert!(most > window / 4 && most <= window + segment, "{most}");
        assert!(ahead.photos.lock().unwrap().is_empty());
    }

    #[test]
    fn what_was_drawn_before_a_resumed_epoch_is_not_kept() {
        let (_dir, set) = set(&[vec![3000; 80], vec![1500; 90]]);
        let window = 32 * 8192;
        let segments = segments(&set, window);
        let order = streamed(set.items(), &segments, window, 1, 0);
        let rest = &order[100..];
        let ahead = Ahead::new(segments, set.len(), rest);
        rest.iter().for_each(|draw| _ = ahead.take(draw.photo, &set, |_| true));
        assert!(ahead.photos.lock().unwrap().is_empty());
    }

    #[test]
    fn neighbours_in_a_streamed_order_are_of_many_places() {
        let (_dir, set) = set(&[vec![1500; 200], vec![1500; 200], vec![1500; 200]]);
        let window = 32 * 8192;
        let segments = segments(&set, window);
        let order = streamed(set.items(), &segments, window, 1, 0);
        let apart =
            order.windows(2).map(|pair| pair[0].photo.abs_diff(pair[1].photo)).sum::<usize>() / (order.len() - 1);
        assert!(apart > 100, "{apart}, and random ones are 200 apart");
        assert_ne!(order, streamed(set.items(), &segments, window, 1, 1));
        assert_ne!(order, streamed(set.items(), &segments, window, 2, 0));
    }
}
