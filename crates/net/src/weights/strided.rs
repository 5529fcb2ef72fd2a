//! Tensors whose elements lie in another order than ours.

/// Whether the elements follow each other in row-major order. The stride of an axis of one element means nothing.
pub(super) fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected *= n;
        fits
    })
}

/// Copies the `count` elements of a strided view, which were checked to lie within `bytes`, into row-major order.
pub(super) fn gather(bytes: &[u8], size: usize, shape: &[u64], strides: &[u64], count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(count * size);
    for index in 0..count as u64 {
        let (mut rest, mut at) = (index, 0);
        for (&n, &stride) in shape.iter().zip(strides).rev() {
            at += rest % n * stride;
            rest /= n;
        }
        let at = at as usize * size;
        out.extend_from_slice(&bytes[at..at + size]);
    }
    out
}
