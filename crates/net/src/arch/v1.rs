//! MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications (arXiv:1704.04861), table 1.

use super::table::{Family, Operator, Row, Table};
use crate::graph::Activation;

/// The paper's table 1. A `separable` line is two of its rows, `Conv dw` and the 1×1 `Conv / s1` behind it.
///
/// The paper prints s2 for the last depthwise layer, but its sizes and its counts need stride 1. It says ReLU where all
/// released weights have ReLU6 (TensorFlow slim, Keras, timm).
#[rustfmt::skip]
const TABLE_1: [Row; 16] = [
    //         input        out  stride
    conv(     [224,    3],   32, 2),
    separable([112,   32],   64, 1),
    separable([112,   64],  128, 2),
    separable([ 56,  128],  128, 1),
    separable([ 56,  128],  256, 2),
    separable([ 28,  256],  256, 1),
    separable([ 28,  256],  512, 2),
    separable([ 14,  512],  512, 1), // the paper's 5×
    separable([ 14,  512],  512, 1),
    separable([ 14,  512],  512, 1),
    separable([ 14,  512],  512, 1),
    separable([ 14,  512],  512, 1),
    separable([ 14,  512], 1024, 2),
    separable([  7, 1024], 1024, 1),
    Row { input: Some([7, 1024]), ..Row::new(Operator::Pool) },
    Row { input: Some([1, 1024]), ..Row::new(Operator::Classifier) },
];

const fn conv(input: [usize; 2], out: usize, stride: usize) -> Row {
    Row { input: Some(input), kernel: 3, out, stride, activation: Activation::Relu6, ..Row::new(Operator::Convolution) }
}

const fn separable(input: [usize; 2], out: usize, stride: usize) -> Row {
    Row { operator: Operator::Separable, ..conv(input, out, stride) }
}

/// MobileNet V1. Its dropout is TensorFlow slim's.
pub fn table() -> Table {
    Table { name: "mobilenet_v1".into(), family: Family::V1, dropout: 0.001, rows: TABLE_1.to_vec() }
}
