//! Batches of examples, made ahead of whoever trains.
//!
//! Order and random numbers depend on seed, epoch and photo only, so that batches have equal bits for any number of
//! workers and after resuming at any batch.

use crate::cache::Cache;
use crate::order::{self, Division, Draw, stream};
use crate::part::Part;
use crate::queue::Queue;
use crate::sampling::{self, Sampling};
use crate::stream::{Ahead, Segment, segments, streamed};
use crate::{Augment, Dataset, Error, Mixed, Random, Target};
use mobilenet_net::preprocessing::Preprocessing;
use mobilenet_run::Image;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Decoded photos that are kept unless told otherwise: CIFAR-10's training photos are 154 MB.
pub const DEFAULT_CACHE_BYTES: u64 = 512 << 20;

/// Bytes of a sharded set's photos that are mixed unless told otherwise: of ImageNet's, 2,400.
pub const DEFAULT_WINDOW_BYTES: u64 = 256 << 20;

/// How batches are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Photos in a batch.
    pub batch: usize,
    /// Where all random numbers begin.
    pub seed: u64,
    /// What is done to photos at random.
    pub augment: Augment,
    /// What the network expects.
    pub preprocessing: Preprocessing,
    /// Training: the order is random, unreadable photos are replaced by the next in that order, and no epoch ends on a
    /// batch of one. Otherwise, for evaluation, photos come in the data set's order, unreadable ones are left out.
    pub shuffle: bool,
    /// Which photos an epoch of training draws.
    pub sampling: Sampling,
    /// Whether a short last batch is left out; of a set smaller than a batch, nothing is left then.
    pub drop_last: bool,
    /// Threads that make batches ahead; with 0 they are made when asked for.
    pub workers: usize,
    /// Bytes of decoded photos that are kept.
    pub cache_bytes: u64,
    /// What is made of every batch: in training the same photos, bit for bit, as the whole batch has there, and none where
    /// the part is empty.
    pub part: Part,
    /// Of [shards](Dataset::open) with more bytes of photos than this, training reads a part at a time, and mixes it with
    /// as many that were read before. Smaller ones, and [balanced](Sampling::Balanced) draws, are read at any place.
    pub window_bytes: u64,
}

impl LoaderOptions {
    /// For training: shuffled, one worker.
    pub fn training(batch: usize, seed: u64, preprocessing: Preprocessing, augment: Augment) -> LoaderOptions {
        LoaderOptions {
            batch,
            seed,
            augment,
            preprocessing,
            shuffle: true,
            sampling: Sampling::Natural,
            drop_last: false,
            workers: 1,
            cache_bytes: DEFAULT_CACHE_BYTES,
            part: Part::WHOLE,
            window_bytes: DEFAULT_WINDOW_BYTES,
        }
    }

    /// For evaluation: every readable photo once, in order, unchanged.
    pub fn evaluation(batch: usize, preprocessing: Preprocessing) -> LoaderOptions {
        LoaderOptions { shuffle: false, ..LoaderOptions::training(batch, 0, preprocessing, Augment::none()) }
    }

    /// The positions of `whole`, a batch's, that are read for its part.
    fn positions(&self, whole: &Range<usize>) -> impl Iterator<Item = usize> + use<> {
        let own = self.part.range(whole);
        self.mixed_into(whole, &own).into_iter().chain(own)
    }

    /// The photo that mixing needs beside a part's own: each is mixed with the one before it, the first with the last.
    fn mixed_into(&self, whole: &Range<usize>, own: &Range<usize>) -> Option<usize> {
        let is_needed = self.augment.mix.is_on() && own != whole && !own.is_empty();
        is_needed.then(|| if own.start > whole.start { own.start - 1 } else { whole.end - 1 })
    }
}

/// Examples to train on or to evaluate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// N×3×H×W normalised values.
    pub images: Vec<f32>,
    /// Height and width.
    pub size: [usize; 2],
    /// What the photos show.
    pub targets: Vec<Target>,
    /// What was mixed in, where the augmentation mixes.
    pub mixed: Option<Mixed>,
    /// The photos' indices in the data set; where one could not be read, its replacement's.
    pub indices: Vec<usize>,
    /// The place of the first of them in the whole batch, of which this may be a [`Part`].
    pub first: usize,
}

impl Batch {
    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there are none, which a loader gives for an empty [`Part`] alone.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Takes the first example away.
    fn drop_first(&mut self) {
        self.images.drain(..self.images.len() / self.targets.len());
        self.targets.remove(0);
        self.indices.remove(0);
        if let Some(mixed) = &mut self.mixed {
            mixed.others.remove(0);
            mixed.shares.remove(0);
        }
    }
}

/// A photo that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its index in the data set.
    pub index: usize,
    /// Its name and what is wrong with it.
    pub message: String,
}

/// Makes batches of a data set.
pub struct Loader {
    shared: Arc<Shared>,
    options: LoaderOptions,
}

/// What all epochs have in common.
struct Shared {
    dataset: Arc<Dataset>,
    cache: Cache,
    unreadable: Mutex<BTreeMap<usize, String>>,
    /// Values' memory of batches that were given back.
    spare: Mutex<Vec<Vec<f32>>>,
}

/// Batches' memory that is kept for later ones.
const MAX_SPARE: usize = 8;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Loader {
    /// A loader of this data set.
    ///
    /// # Panics
    /// If the batch or the network's size is 0.
    pub fn new(dataset: Arc<Dataset>, options: LoaderOptions) -> Loader {
        let cache = Cache::new(dataset.len(), options.cache_bytes);
        let shared = Shared { dataset, cache, unreadable: Mutex::default(), spare: Mutex::default() };
        let loader = Loader { shared: Arc::new(shared), options };
        loader.check();
        loader
    }

    fn check(&self) {
        let [height, width] = self.options.preprocessing.size;
        assert!(self.options.batch > 0, "batches of 0 photos");
        assert!(height > 0 && width > 0, "an input of {height}×{width} pixels");
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.shared.dataset
    }

    /// How batches are made.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// Makes later epochs otherwise, such as at another resolution; what is decoded stays. `cache_bytes` is only heeded
    /// by [`new`](Self::new).
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn set_options(&mut self, options: LoaderOptions) {
        self.options = options;
        self.check();
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> usize {
        self.division().batches()
    }

    fn division(&self) -> Division {
        let LoaderOptions { batch, shuffle, drop_last, .. } = self.options;
        Division::new(self.shared.dataset.len(), batch, shuffle, drop_last)
    }

    /// The batches of an epoch from `start_batch` on, in order.
    pub fn epoch(&self, epoch: u64, start_batch: usize) -> Epoch {
        let (options, division) = (self.options, self.division());
        let end = division.batches();
        let start = start_batch.min(end);
        let (order, segments) = self.order(epoch);
        let drawn = (start..end).flat_map(|index| options.positions(&division.range(index)));
        let drawn = drawn.map(|position| &order[position]);
        let ahead = (!segments.is_empty()).then(|| Ahead::new(segments, order.len(), drawn));
        let job = Arc::new(Job { shared: Arc::clone(&self.shared), order, ahead, division, options, epoch });
        let queue = Arc::new(Queue::new(start, end, options.workers + 1));
        let spawn = |_| {
            let (job, queue) = (Arc::clone(&job), Arc::clone(&queue));
            thread::Builder::new().name("loader".to_owned()).spawn(move || work(&job, &queue)).ok()
        };
        let workers: Vec<_> = (0..options.workers.min(end - start)).filter_map(spawn).collect();
        let given = start_batch > 0 || end == 0 || options.part != Part::WHOLE;
        Epoch { job, queue, workers, given, failed: false }
    }

    /// The order of an epoch's photos, and in what pieces they are read, if not one by one.
    fn order(&self, epoch: u64) -> (Vec<Draw>, Vec<Segment>) {
        let LoaderOptions { seed, shuffle, sampling, window_bytes, .. } = self.options;
        let dataset = &self.shared.dataset;
        let items = dataset.items();
        let order = match (shuffle, sampling) {
            (true, Sampling::Balanced) => sampling::balanced(items, seed, epoch),
            (true, Sampling::Natural) => {
                let segments = segments(dataset, window_bytes);
                if !segments.is_empty() {
                    return (streamed(items, &segments, window_bytes, seed, epoch), segments);
                }
                order::order(items.len(), Some((seed, epoch)))
            }
            (false, _) => order::order(items.len(), None),
        };
        (order, Vec::new())
    }

    /// Takes back a batch's memory for later ones.
    pub fn recycle(&self, batch: Batch) {
        self.shared.recycle(batch.images);
    }

    /// The photos that could not be read so far, each once, in the data set's order.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let unreadable = lock(&self.shared.unreadable);
        unreadable.iter().map(|(&index, message)| Unreadable { index, message: message.clone() }).collect()
    }
}

/// The batches of an epoch.
pub struct Epoch {
    job: Arc<Job>,
    queue: Arc<Queue<Result<Batch, Error>>>,
    workers: Vec<JoinHandle<()>>,
    /// Whether any batch was given, or need not be.
    given: bool,
    failed: bool,
}

impl Iterator for Epoch {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Result<Batch, Error>> {
        while !self.failed {
            if self.workers.is_empty()
                && let Some(index) = self.queue.claim()
            {
                self.queue.put(index, self.job.batch(index));
            }
            match self.queue.take() {
                // A batch of which no photo can be read.
                Ok(Some(Ok(batch))) if batch.is_empty() && !self.job.options.shuffle => {
                    self.job.shared.recycle(batch.images);
                }
                Ok(Some(Ok(batch))) => {
                    self.given = true;
                    return Some(Ok(batch));
                }
                Ok(None) if self.given => return None,
                other => {
                    self.failed = true;
                    return Some(Err(match other {
                        Ok(Some(Err(error))) => error,
                        Ok(_) => self.job.shared.all_unreadable(),
                        Err(()) => Error::Worker,
                    }));
                }
            }
        }
        None
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.queue.stop();
        for worker in self.workers.drain(..) {
            // One that panicked was told of by `next`.
            let _ = worker.join();
        }
    }
}

/// Makes batches until there are none left.
fn work(job: &Job, queue: &Queue<Result<Batch, Error>>) {
    /// Whatever ends the thread early, the taker must not wait for it.
    struct Alarm<'a>(&'a Queue<Result<Batch, Error>>);
    impl Drop for Alarm<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.fail();
            }
        }
    }
    let alarm = Alarm(queue);
    while let Some(index) = alarm.0.claim() {
        queue.put(index, job.batch(index));
    }
}

/// An epoch's recipe.
struct Job {
    shared: Arc<Shared>,
    options: LoaderOptions,
    order: Vec<Draw>,
    /// What is read of shards before it is due.
    ahead: Option<Ahead>,
    division: Division,
    epoch: u64,
}

impl Job {
    fn batch(&self, index: usize) -> Result<Batch, Error> {
        let LoaderOptions { seed, augment, preprocessing, part, .. } = &self.options;
        let size = preprocessing.size;
        let length = 3 * size[0] * size[1];
        let whole = self.division.range(index);
        let own = part.range(&whole);
        let before = self.options.mixed_into(&whole, &own);
        let mut images = lock(&self.shared.spare).pop().unwrap_or_default();
        images.resize((own.len() + usize::from(before.is_some())) * length, 0.0);
        let (mut targets, mut indices) = (Vec::with_capacity(own.len() + 1), Vec::with_capacity(own.len() + 1));
        for position in self.options.positions(&whole) {
            // By the photo that was due, so that a replacement that is due too is not twice the same.
            let number = self.order[position].number(self.order.len());
            let mut random = Random::new(*seed, stream(self.epoch, order::PHOTO), number);
            let out = &mut images[targets.len() * length..][..length];
            let Some(item) = self.example(position, |image| augment.apply(image, preprocessing, &mut random, out))?
            else {
                continue;
            };
            targets.push(self.shared.dataset.items()[item].target.clone());
            indices.push(item);
        }
        images.truncate(targets.len() * length);
        let mut random = Random::new(*seed, stream(self.epoch, order::BATCH), index as u64);
        let mixed = augment.mix.apply(&mut images, &targets, size, &mut random);
        let mut batch = Batch { images, size, targets, mixed, indices, first: own.start - whole.start };
        if before.is_some() && !batch.is_empty() {
            batch.drop_first();
        }
        Ok(batch)
    }

    /// Shows the photo at a position to `see`, or the one that replaces it; says which it was.
    fn example(&self, position: usize, mut see: impl FnMut(&Image)) -> Result<Option<usize>, Error> {
        if !self.options.shuffle {
            let item = self.order[position].photo;
            return Ok(self.with_photo(item, &mut see).then_some(item));
        }
        let candidates = self.order[position..].iter().chain(&self.order[..position]);
        for &Draw { photo: item, .. } in candidates {
            if self.with_photo(item, &mut see) {
                return Ok(Some(item));
            }
        }
        Err(self.shared.all_unreadable())
    }

    fn with_photo(&self, index: usize, see: &mut impl FnMut(&Image)) -> bool {
        self.shared.with_photo(index, self.ahead.as_ref(), see)
    }
}

impl Shared {
    /// Shows a photo to `see` if it can be read, and says whether it can.
    fn with_photo(&self, index: usize, ahead: Option<&Ahead>, see: &mut impl FnMut(&Image)) -> bool {
        if let Some(image) = self.cache.get(index) {
            see(image);
            return true;
        }
        if lock(&self.unreadable).contains_key(&index) {
            return false;
        }
        match self.read(index, ahead) {
            Ok(image) => {
                match self.cache.keep(index, image) {
                    Ok(image) => see(image),
                    Err(image) => see(&image),
                }
                true
            }
            Err(error) => {
                lock(&self.unreadable).insert(index, error.to_string());
                false
            }
        }
    }

    fn read(&self, index: usize, ahead: Option<&Ahead>) -> Result<Image, Error> {
        let dataset = &self.dataset;
        let is_missing = |photo: usize| self.cache.get(photo).is_none();
        match ahead.and_then(|ahead| ahead.take(index, dataset, is_missing)) {
            Some(bytes) => Ok(dataset.decode_bytes(index, &bytes)?.image),
            None => dataset.read(index),
        }
    }

    fn all_unreadable(&self) -> Error {
        let first = lock(&self.unreadable).values().next().cloned().unwrap_or_default();
        Error::AllUnreadable { photos: self.dataset.len(), first }
    }

    fn recycle(&self, images: Vec<f32>) {
        let mut spare = lock(&self.spare);
        if spare.len() < MAX_SPARE {
            spare.push(images);
        }
    }
}
