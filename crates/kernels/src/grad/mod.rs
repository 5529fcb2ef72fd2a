//! Gradients of the layers: of their weights, and of their inputs where the forward kernels cannot give them.
//!
//! The input gradient of a pointwise convolution is a pointwise convolution with the weights transposed, that of a
//! depthwise one at stride 1 the same stencil flipped, that of a fully connected layer the transposed layer: these use
//! the forward kernels. Weight gradients are sums over images and pixels; they are kept apart in shards whose number
//! follows from the sizes alone, so that every number of threads gives the same bits.

pub mod dense;
pub mod depthwise;
pub mod pointwise;
pub mod product;

use crate::layout::Dims;
use crate::norm::{self, Backward, Way};
use crate::prologue::Prologue;

/// The gradient of a layer's raw output, worked out on the way in from what is known behind the batch norm, activation and
/// gate that follow the layer.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// The layer's raw output.
    pub x: &'a [f32],
    /// What follows it, and the gradient of its result.
    pub back: Backward<'a>,
    /// Batch norm's a, b and c: the gradient is d · a + x · b + c ([`norm::Map::Backward`]), and d alone without.
    pub factors: Option<[&'a [f32]; 3]>,
}

/// The sums that the batch norm before the layer needs, taken on the way out while the input gradient lies in the cache.
pub struct Outgoing<'a> {
    /// The raw value that batch norm normalises.
    pub x: &'a [f32],
    /// What follows it up to the layer; without gate.
    pub prologue: Prologue<'a>,
    /// What the sums are about; see [`norm::Sum::Backward`].
    pub centre: &'a [f32],
    /// `[image][part][block][value][16]` with the values of [`norm::Sum::Backward`].
    pub sums: &'a mut [f32],
}

impl Incoming<'_> {
    fn check(&self, dims: Dims) {
        norm::check(self.x, &self.back, self.factors.into_iter().flatten(), dims);
    }

    fn way(&self, dims: Dims, image: usize) -> Way {
        Way::map(self.x, &self.back, self.factors, dims, image)
    }
}

impl Outgoing<'_> {
    fn back(&self) -> Backward<'_> {
        Backward { prologue: self.prologue, gradient: None, spread: None }
    }

    fn check(&self, dims: Dims, parts: usize) {
        norm::check(self.x, &self.back(), [self.centre], dims);
        let len = dims.n * parts * crate::layout::blocks(dims.c) * norm::BACKWARD * crate::layout::LANES;
        assert_eq!(self.sums.len(), len, "sums of every part of {dims:?}");
    }

    /// Of the image whose input gradient begins at `dx`.
    fn way(&self, dims: Dims, image: usize, dx: *const f32) -> Way {
        Way::sums(self.x, &self.back(), self.centre, dims, image).with_gradient(dx)
    }
}

/// Shards of a sum over `images` images: enough to feed many threads, few enough to add up quickly.
pub(crate) fn shards(images: usize) -> usize {
    images.min(8)
}

/// Adds up `shards` shards of `len` values each into the first, in order.
pub(crate) fn add_shards(partial: &mut [f32], len: usize, shards: usize) {
    let (first, rest) = partial.split_at_mut(len);
    for shard in rest.chunks_exact(len).take(shards - 1) {
        first.iter_mut().zip(shard).for_each(|(a, b)| *a += b);
    }
}
