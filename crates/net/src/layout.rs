//! How libraries order the axes of weights. Ours is PyTorch's: out×in×kh×kw.

use crate::graph::Op;
use crate::names::Origin;
use crate::strided;
use crate::tensor::{Data, Tensor};

/// For each of our axes, which of the file's it is, for a weight of `rank` axes; `None` where they are the same.
///
/// Keras has kh×kw×in×out, kh×kw×channels×1 for depthwise convolutions, and in×out for fully connected layers, which in V3
/// and at the end of V1 are 1×1 convolutions (keras@3.15.1 layers/convolutional/base_conv.py, base_depthwise_conv.py,
/// layers/core/dense.py).
fn axes(origin: Origin, op: &Op, rank: usize) -> Option<&'static [usize]> {
    match (origin, op, rank) {
        (Origin::Keras, Op::Convolution { .. } | Op::FullyConnected { .. }, 4) => Some(&[3, 2, 0, 1]),
        (Origin::Keras, Op::Depthwise { .. }, 4) => Some(&[2, 3, 0, 1]),
        (Origin::Keras, Op::FullyConnected { .. }, 2) => Some(&[1, 0]),
        _ => None,
    }
}

/// The shape of a file's tensor in our order, for a parameter of `op`.
pub(crate) fn shape(origin: Origin, op: &Op, theirs: &[usize]) -> Vec<usize> {
    match axes(origin, op, theirs.len()) {
        Some(axes) => axes.iter().map(|&axis| theirs[axis]).collect(),
        None => theirs.to_vec(),
    }
}

/// The shape that the file's tensor needs, from ours; the reverse of [`shape`].
pub(crate) fn theirs(origin: Origin, op: &Op, ours: &[usize]) -> Vec<usize> {
    let mut theirs = ours.to_vec();
    for (&axis, &size) in axes(origin, op, ours.len()).unwrap_or_default().iter().zip(ours) {
        theirs[axis] = size;
    }
    theirs
}

/// The file's tensor in our order. No value changes.
pub(crate) fn arranged(origin: Origin, op: &Op, tensor: Tensor) -> Tensor {
    let Some(axes) = axes(origin, op, tensor.shape().len()) else { return tensor };
    let shape = shape(origin, op, tensor.shape());
    // How far apart neighbours along each of our axes lie in the file.
    let strides: Vec<u64> =
        axes.iter().map(|&axis| tensor.shape()[axis + 1..].iter().product::<usize>() as u64).collect();
    let sizes: Vec<u64> = shape.iter().map(|&size| size as u64).collect();
    let data = match tensor.data() {
        Data::F32(v) => Data::F32(gather(v, &sizes, &strides)),
        Data::F16(v) => Data::F16(gather(v, &sizes, &strides)),
        Data::Bf16(v) => Data::Bf16(gather(v, &sizes, &strides)),
        Data::I8(v) => Data::I8(gather(v, &sizes, &strides)),
        Data::U8(v) => Data::U8(gather(v, &sizes, &strides)),
        Data::I32(v) => Data::I32(gather(v, &sizes, &strides)),
        Data::I64(v) => Data::I64(gather(v, &sizes, &strides)),
    };
    Tensor::new(shape, data)
}

fn gather<T: Copy>(values: &[T], shape: &[u64], strides: &[u64]) -> Vec<T> {
    strided::places(shape, strides).map(|place| values[place]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Padding, Window};

    /// Indices in our tensor to indices in the file's.
    type Axes = fn([usize; 4]) -> [usize; 4];

    fn size(shape: &[usize], axis: usize) -> usize {
        shape.get(axis).copied().unwrap_or(1)
    }

    /// Each element says where in the file's tensor it was.
    #[test]
    fn every_element_goes_where_its_indices_say() {
        let window = Window { kernel: [2, 3], ..Window::square(3, 1, 1, Padding::Same) };
        let cases: [(Op, &[usize], Axes); 3] = [
            (Op::Convolution { window, out: 5, bias: false }, &[2, 3, 4, 5], |[o, i, y, x]| [y, x, i, o]),
            (Op::Depthwise { window, bias: false }, &[2, 3, 4, 1], |[c, one, y, x]| [y, x, c, one]),
            (Op::FullyConnected { out: 5 }, &[4, 5], |[o, i, ..]| [i, o, 0, 0]),
        ];
        for (op, theirs, at) in cases {
            let count = theirs.iter().product::<usize>();
            let tensor = Tensor::new(theirs.to_vec(), Data::I32((0..count as i32).collect()));
            let ours = arranged(Origin::Keras, &op, tensor.clone());
            assert_eq!(super::theirs(Origin::Keras, &op, ours.shape()), theirs);
            let index = |at: [usize; 4]| (0..4).fold(0, |n, axis| n * size(theirs, axis) + at[axis]);
            let Data::I32(values) = ours.data() else { unreachable!() };
            let [b, c, d] = [1, 2, 3].map(|axis| size(ours.shape(), axis));
            for (n, &value) in values.iter().enumerate() {
                let indices = [n / (b * c * d), n / (c * d) % b, n / d % c, n % d];
                assert_eq!(value as usize, index(at(indices)), "{op:?} at {indices:?}");
            }
            assert_eq!(arranged(Origin::Timm, &op, tensor.clone()), tensor);
        }
    }
}
