//! A recipe's photos: what the data crate is to do with them.

use mobilenet_data::augment::{Augment, Crop as Cut};
use mobilenet_data::auto::Auto as Policy;
use mobilenet_data::color::Jitter;
use mobilenet_data::crop::Border as Surround;
use mobilenet_data::loader::{DEFAULT_CACHE_BYTES, LoaderOptions};
use mobilenet_data::mix::{Erase, Mix};
use mobilenet_data::sampling::Sampling as Drawing;
use mobilenet_net::preprocessing::{ChannelOrder, Filter, Preprocessing, Resize};

use crate::memory::free_bytes;
use crate::recipe::{Augmentation, Auto, Border, Cache, Crop, Recipe, Sampling};

impl Recipe {
    /// How photos become tensors when they are not changed at random: the short side to 8/7 of the network's size and the
    /// middle of it, or, for small photos that are cropped with a border, the whole photo.
    pub fn preprocessing(&self) -> Preprocessing {
        self.preprocessing_to(self.resolution)
    }

    /// As [`preprocessing`](Self::preprocessing), to `size`×`size` pixels.
    fn preprocessing_to(&self, size: usize) -> Preprocessing {
        let resize = match self.augmentation.crop {
            Crop::RandomResized => Resize::ShortSide(size * 8 / 7),
            Crop::Padded | Crop::None => Resize::ShortSide(size),
        };
        Preprocessing {
            resize,
            size: [size; 2],
            filter: Filter::Bilinear,
            mean: self.preprocessing.mean.map(|v| v as f32),
            std: self.preprocessing.std.map(|v| v as f32),
            channel_order: ChannelOrder::Rgb,
            background_class: false,
        }
    }

    /// Height and width of the photos in training in an epoch, counted from 0: see [`Recipe::resolutions`].
    pub fn resolution_in(&self, epoch: u64) -> usize {
        let begun = self.resolutions.iter().rev().find(|[from, _]| *from as u64 <= epoch);
        begun.map_or(self.resolution, |[_, pixels]| *pixels)
    }

    /// Batches to learn from in an epoch, beside `threads` threads that compute.
    pub fn training_photos(&self, epoch: u64, threads: usize) -> LoaderOptions {
        let preprocessing = self.preprocessing_to(self.resolution_in(epoch));
        let photos = LoaderOptions::training(self.batch, self.seed, preprocessing, augment(&self.augmentation));
        let sampling = match self.sampling {
            Sampling::Natural => Drawing::Natural,
            Sampling::Balanced => Drawing::Balanced,
        };
        LoaderOptions { sampling, cache_bytes: cache_bytes(self.cache), workers: workers(threads), ..photos }
    }

    /// Batches to estimate batch norm's statistics from: in random order, for a few photos should be of all classes, and
    /// as evaluation sees them.
    pub fn estimation_photos(&self, threads: usize) -> LoaderOptions {
        let photos = LoaderOptions::training(self.batch, self.seed, self.preprocessing(), Augment::none());
        LoaderOptions { workers: workers(threads), ..photos }
    }

    /// Batches to check with.
    pub fn evaluation_photos(&self, threads: usize) -> LoaderOptions {
        // Once an epoch each: memory is for the photos to learn from.
        let photos = LoaderOptions::evaluation(self.batch, self.preprocessing());
        LoaderOptions { cache_bytes: 0, workers: workers(threads), ..photos }
    }
}

/// Memory for decoded photos.
fn cache_bytes(cache: Cache) -> u64 {
    match cache {
        Cache::Auto => free_bytes().map_or(DEFAULT_CACHE_BYTES, |free| free / 4),
        Cache::Megabytes(megabytes) => u64::from(megabytes) << 20,
    }
}

/// Workers that make batches beside threads that compute: their work is a small part of a step's.
fn workers(threads: usize) -> usize {
    threads.div_ceil(4)
}

fn surround(border: Border) -> Surround {
    match border {
        Border::Zero => Surround::Zero,
        Border::Reflect => Surround::Reflect,
    }
}

fn augment(a: &Augmentation) -> Augment {
    let pair = |v: [f64; 2]| v.map(|x| x as f32);
    let strength = a.color_jitter as f32;
    Augment {
        crop: match a.crop {
            Crop::RandomResized => Cut::RandomResized { scale: pair(a.scale), ratio: pair(a.ratio) },
            Crop::Padded => Cut::Padded { pad: a.padding, border: surround(a.border) },
            Crop::None => Cut::Evaluation,
        },
        flip: a.flip as f32,
        auto: match a.auto {
            Auto::None => None,
            Auto::Autoaugment => Some(Policy::ImageNet),
            Auto::AutoaugmentCifar10 => Some(Policy::Cifar10),
            Auto::Randaugment => {
                Some(Policy::Rand { count: a.randaugment.n, magnitude: a.randaugment.m.round() as usize })
            }
        },
        jitter: (strength > 0.0).then_some(Jitter {
            brightness: strength,
            contrast: strength,
            saturation: strength,
            hue: 0.0,
        }),
        erase: (a.erasing > 0.0).then(|| Erase { probability: a.erasing as f32, ..Erase::default() }),
        mix: Mix { mixup: a.mixup as f32, cutmix: a.cutmix as f32 },
        ..Augment::none()
    }
}
