//! Gradients of the layers: of their weights, and of their inputs where the forward kernels cannot give them.
//!
//! The input gradient of a pointwise convolution is a pointwise convolution with the weights transposed, that of a
//! depthwise one at stride 1 the same stencil flipped, that of a fully connected layer the transposed layer: these use
//! the forward kernels. Weight gradients are sums over images and pixels; they are kept apart in shards whose number
//! follows from the sizes alone, so that every number of threads gives the same bits.

pub mod dense;
pub mod depthwise;
pub mod product;

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
