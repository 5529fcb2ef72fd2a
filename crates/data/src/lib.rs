//! Data sets of photos.
