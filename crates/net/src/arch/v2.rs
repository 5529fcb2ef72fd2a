//! MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv:1801.04381), table 2.

use super::table::{Expansion, Family, Operator, Row, Table};
use crate::graph::Activation;

/// The paper's table 2. 17 blocks, although its text says 19 (§4). The head does not shrink with the width (§6.1).
#[rustfmt::skip]
const TABLE_2: [Row; 11] = [
    //      input       operator                t     c  n  s
    row([224,    3], Operator::Convolution, 3,  1,   32, 1, 2),
    row([112,   32], Operator::Bottleneck,  3,  1,   16, 1, 1),
    row([112,   16], Operator::Bottleneck,  3,  6,   24, 2, 2),
    row([ 56,   24], Operator::Bottleneck,  3,  6,   32, 3, 2),
    row([ 28,   32], Operator::Bottleneck,  3,  6,   64, 4, 2),
    row([ 14,   64], Operator::Bottleneck,  3,  6,   96, 3, 1),
    row([ 14,   96], Operator::Bottleneck,  3,  6,  160, 3, 2),
    row([  7,  160], Operator::Bottleneck,  3,  6,  320, 1, 1),
    Row { shrinks: false, ..row([7, 320], Operator::Convolution, 1, 1, 1280, 1, 1) },
    Row { input: Some([7, 1280]), ..Row::new(Operator::Pool) },
    Row { input: Some([1, 1280]), ..Row::new(Operator::Classifier) },
];

const fn row(input: [usize; 2], operator: Operator, kernel: usize, t: usize, c: usize, n: usize, s: usize) -> Row {
    Row {
        input: Some(input),
        kernel,
        expansion: Expansion::Factor(t),
        out: c,
        repeat: n,
        stride: s,
        activation: Activation::Relu6,
        ..Row::new(operator)
    }
}

/// MobileNet V2.
pub fn table() -> Table {
    Table { name: "mobilenet_v2".into(), family: Family::V2, dropout: 0.2, rows: TABLE_2.to_vec() }
}
