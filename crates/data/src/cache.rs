//! Decoded photos, kept as long as memory is left for them.

use mobilenet_run::Image;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Photos of one data set.
pub(crate) struct Cache {
    photos: Vec<OnceLock<Image>>,
    /// Bytes that may still be used.
    left: AtomicU64,
}

impl Cache {
    pub(crate) fn new(photos: usize, bytes: u64) -> Cache {
        Cache { photos: (0..photos).map(|_| OnceLock::new()).collect(), left: AtomicU64::new(bytes) }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Image> {
        self.photos[index].get()
    }

    /// Keeps the photo, or hands it back if there is no room.
    pub(crate) fn keep(&self, index: usize, mut image: Image) -> Result<&Image, Image> {
        let bytes = image.rgb.len() as u64;
        let take = |left: u64| left.checked_sub(bytes);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(image);
        }
        image.rgb.shrink_to_fit();
        if self.photos[index].set(image).is_err() {
            // Another worker was faster.
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(self.photos[index].get().expect("it was set, here or by another worker"))
    }
}
