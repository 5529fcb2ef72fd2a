//! Tensors whose elements lie in another order than ours.

use crate::tensor::{DType, Data};

/// Whether the elements follow each other in row-major order. The stride of an axis of one element means nothing.
fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected *= n;
        fits
    })
}

/// Where the elements of a tensor of `shape` lie among elements with these strides, in row-major order.
pub(crate) fn places(shape: &[u64], strides: &[u64]) -> impl Iterator<Item = usize> {
    let mut index = vec![0; shape.len()];
    let mut next = 0u64;
    (0..shape.iter().product::<u64>()).map(move |_| {
        let place = next;
        for axis in (0..index.len()).rev() {
            // An axis of one element may have any stride.
            next = next.wrapping_add(strides[axis]);
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            next = next.wrapping_sub(shape[axis].wrapping_mul(strides[axis]));
            index[axis] = 0;
        }
        place as usize
    })
}

/// The elements of a strided view, which were checked to lie within `bytes`, in row-major order.
pub(crate) fn elements(dtype: DType, bytes: &[u8], shape: &[u64], strides: &[u64]) -> Data {
    if is_contiguous(shape, strides) {
        return Data::from_le_bytes(dtype, bytes);
    }
    let size = dtype.size();
    let gathered: Vec<u8> = places(shape, strides).flat_map(|at| bytes[at * size..][..size].iter().copied()).collect();
    Data::from_le_bytes(dtype, &gathered)
}
