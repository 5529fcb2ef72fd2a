//! Searching for MobileNetV3 (arXiv:1905.02244), tables 1 and 2.

use super::table::{Expansion, Family, Operator, Row, Table};
use crate::graph::Activation;

const HS: Activation = Activation::HSwish;
const RE: Activation = Activation::Relu;
const SE: bool = true;
const NO: bool = false;

/// The paper's table 1.
#[rustfmt::skip]
const LARGE: [Row; 20] = [
    //      input     k  exp  out  SE  NL  s
    conv( [224,   3], 3,       16,     HS, 2),
    bneck([112,  16], 3,  16,  16, NO, RE, 1),
    bneck([112,  16], 3,  64,  24, NO, RE, 2),
    bneck([ 56,  24], 3,  72,  24, NO, RE, 1),
    bneck([ 56,  24], 5,  72,  40, SE, RE, 2),
    bneck([ 28,  40], 5, 120,  40, SE, RE, 1),
    bneck([ 28,  40], 5, 120,  40, SE, RE, 1),
    bneck([ 28,  40], 3, 240,  80, NO, HS, 2),
    bneck([ 14,  80], 3, 200,  80, NO, HS, 1),
    bneck([ 14,  80], 3, 184,  80, NO, HS, 1),
    bneck([ 14,  80], 3, 184,  80, NO, HS, 1),
    bneck([ 14,  80], 3, 480, 112, SE, HS, 1),
    bneck([ 14, 112], 3, 672, 112, SE, HS, 1),
    bneck([ 14, 112], 5, 672, 160, SE, HS, 2),
    bneck([  7, 160], 5, 960, 160, SE, HS, 1),
    bneck([  7, 160], 5, 960, 160, SE, HS, 1),
    conv( [  7, 160], 1,      960,     HS, 1),
    pool( [  7, 960]),
    nbn(  [  1, 960],        1280,     HS),
    classes([1, 1280]),
];

/// The paper's table 2, but without the squeeze-and-excite that it ticks on the last convolution: no implementation
/// has it, and the paper's parameter count excludes it.
#[rustfmt::skip]
const SMALL: [Row; 16] = [
    //      input     k  exp  out  SE  NL  s
    conv( [224,   3], 3,       16,     HS, 2),
    bneck([112,  16], 3,  16,  16, SE, RE, 2),
    bneck([ 56,  16], 3,  72,  24, NO, RE, 2),
    bneck([ 28,  24], 3,  88,  24, NO, RE, 1),
    bneck([ 28,  24], 5,  96,  40, SE, HS, 2),
    bneck([ 14,  40], 5, 240,  40, SE, HS, 1),
    bneck([ 14,  40], 5, 240,  40, SE, HS, 1),
    bneck([ 14,  40], 5, 120,  48, SE, HS, 1),
    bneck([ 14,  48], 5, 144,  48, SE, HS, 1),
    bneck([ 14,  48], 5, 288,  96, SE, HS, 2),
    bneck([  7,  96], 5, 576,  96, SE, HS, 1),
    bneck([  7,  96], 5, 576,  96, SE, HS, 1),
    conv( [  7,  96], 1,      576,     HS, 1),
    pool( [  7, 576]),
    nbn(  [  1, 576],        1024,     HS),
    classes([1, 1024]),
];

const fn conv(input: [usize; 2], kernel: usize, out: usize, activation: Activation, stride: usize) -> Row {
    Row { input: Some(input), kernel, out, activation, stride, ..Row::new(Operator::Convolution) }
}

const fn bneck(
    input: [usize; 2],
    kernel: usize,
    exp: usize,
    out: usize,
    squeeze_excite: bool,
    activation: Activation,
    stride: usize,
) -> Row {
    Row {
        operator: Operator::Bottleneck,
        expansion: Expansion::Channels(exp),
        squeeze_excite,
        ..conv(input, kernel, out, activation, stride)
    }
}

const fn pool(input: [usize; 2]) -> Row {
    Row { input: Some(input), ..Row::new(Operator::Pool) }
}

/// A 1×1 convolution without batch norm.
const fn nbn(input: [usize; 2], out: usize, activation: Activation) -> Row {
    Row { operator: Operator::Hidden, ..conv(input, 1, out, activation, 1) }
}

const fn classes(input: [usize; 2]) -> Row {
    Row { input: Some(input), ..Row::new(Operator::Classifier) }
}

fn table(name: &str, rows: &[Row]) -> Table {
    Table { name: name.into(), family: Family::V3, dropout: 0.2, rows: rows.to_vec() }
}

/// MobileNet V3-Large.
pub fn large() -> Table {
    table("mobilenet_v3_large", &LARGE)
}

/// MobileNet V3-Small.
pub fn small() -> Table {
    table("mobilenet_v3_small", &SMALL)
}

/// V3-Large minimalistic.
pub fn large_minimal() -> Table {
    table("mobilenet_v3_large_minimal", &LARGE.map(minimalistic))
}

/// V3-Small minimalistic.
pub fn small_minimal() -> Table {
    table("mobilenet_v3_small_minimal", &SMALL.map(minimalistic))
}

/// The rule of TensorFlow slim's minimalistic networks: no squeeze-and-excite, every 5×5 becomes 3×3, ReLU everywhere,
/// stem and head included.
fn minimalistic(row: Row) -> Row {
    Row { kernel: row.kernel.min(3), squeeze_excite: false, activation: RE, ..row }
}
