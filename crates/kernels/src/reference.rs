//! The scalar truth: every operation written down once more, in plain NCHW, in double precision, with no thought of
//! speed. Tests hold the kernels of every instruction set against it.

use crate::epilogue::Activation;
use crate::layout::Dims;
use crate::pool2d::Kind;
use crate::window::Geometry;

/// One value through an activation.
pub fn activate(activation: Activation, x: f64) -> f64 {
    let hard_sigmoid = (x + 3.0).clamp(0.0, 6.0) / 6.0;
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match activation {
        Activation::Linear => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::HSwish => x * hard_sigmoid,
        Activation::HardSigmoid => hard_sigmoid,
        Activation::Sigmoid => sigmoid,
        Activation::Swish => x * sigmoid,
    }
}

/// The derivative of an activation; at its corners one of the two that meet there.
pub fn derivative(activation: Activation, x: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    let inside = |low: f64, high: f64| f64::from(u8::from(low < x && x < high));
    match activation {
        Activation::Linear => 1.0,
        Activation::Relu => inside(0.0, f64::INFINITY),
        Activation::Relu6 => inside(0.0, 6.0),
        Activation::HSwish => (x / 3.0 + 0.5) * inside(-3.0, 3.0) + inside(3.0, f64::INFINITY),
        Activation::HardSigmoid => inside(-3.0, 3.0) / 6.0,
        Activation::Sigmoid => sigmoid * (1.0 - sigmoid),
        Activation::Swish => sigmoid + x * sigmoid * (1.0 - sigmoid),
    }
}

/// Convolution of `n` images with `groups` groups of channels: dense with one, depthwise with as many as channels.
/// `weights` are outputs × inputs/groups × kh × kw; an empty `bias` is zero.
#[expect(clippy::too_many_arguments, reason = "the textbook's list")]
pub fn convolution(
    n: usize,
    [inputs, outputs]: [usize; 2],
    groups: usize,
    g: &Geometry,
    x: &[f32],
    weights: &[f32],
    bias: &[f32],
    activation: Activation,
) -> Vec<f32> {
    let per_group = inputs / groups;
    let taps = g.kernel[0] * g.kernel[1];
    let mut y = Vec::with_capacity(n * outputs * g.output[0] * g.output[1]);
    for image in 0..n {
        for o in 0..outputs {
            let group = o / (outputs / groups);
            each_output(g, |rows_columns| {
                let mut sum = bias.get(o).map_or(0.0, |&b| f64::from(b));
                for i in 0..per_group {
                    let plane = (image * inputs + group * per_group + i) * g.input[0] * g.input[1];
                    for &(tap, at) in rows_columns {
                        sum += f64::from(x[plane + at]) * f64::from(weights[(o * per_group + i) * taps + tap]);
                    }
                }
                y.push(activate(activation, sum) as f32);
            });
        }
    }
    y
}

/// Calls `f` for every output pixel with its taps inside the image: index in the window, index in the plane.
fn each_output(g: &Geometry, mut f: impl FnMut(&[(usize, usize)])) {
    for oh in 0..g.output[0] {
        for ow in 0..g.output[1] {
            let mut taps = Vec::new();
            for kh in 0..g.kernel[0] {
                for kw in 0..g.kernel[1] {
                    let h = (oh * g.stride[0] + kh * g.dilation[0]) as isize - g.before[0] as isize;
                    let w = (ow * g.stride[1] + kw * g.dilation[1]) as isize - g.before[1] as isize;
                    if (0..g.input[0] as isize).contains(&h) && (0..g.input[1] as isize).contains(&w) {
                        taps.push((kh * g.kernel[1] + kw, h as usize * g.input[1] + w as usize));
                    }
                }
            }
            f(&taps);
        }
    }
}

/// Gradients of [`convolution`] without activation: of the weights and of the input, from the gradient `dy` of its output.
pub fn convolution_gradients(
    n: usize,
    [inputs, outputs]: [usize; 2],
    groups: usize,
    g: &Geometry,
    x: &[f32],
    weights: &[f32],
    dy: &[f32],
) -> [Vec<f32>; 2] {
    let per_group = inputs / groups;
    let taps = g.kernel[0] * g.kernel[1];
    let (mut dw, mut dx) = (vec![0f64; weights.len()], vec![0f64; x.len()]);
    let mut dy = dy.iter().map(|&d| f64::from(d));
    for image in 0..n {
        for o in 0..outputs {
            let group = o / (outputs / groups);
            each_output(g, |rows_columns| {
                let d = dy.next().expect("a gradient for every output");
                for i in 0..per_group {
                    let plane = (image * inputs + group * per_group + i) * g.input[0] * g.input[1];
                    for &(tap, at) in rows_columns {
                        let w = (o * per_group + i) * taps + tap;
                        dw[w] += d * f64::from(x[plane + at]);
                        dx[plane + at] += d * f64::from(weights[w]);
                    }
                }
            });
        }
    }
    [dw, dx].map(|v| v.into_iter().map(|x| x as f32).collect())
}

/// Pooling of `planes` planes in windows.
pub fn pool(kind: Kind, planes: usize, g: &Geometry, x: &[f32]) -> Vec<f32> {
    let mut y = Vec::new();
    for plane in x.chunks_exact(g.input[0] * g.input[1]).take(planes) {
        each_output(g, |taps| {
            let values = taps.iter().map(|&(_, at)| f64::from(plane[at]));
            y.push(match kind {
                Kind::Average => values.sum::<f64>() / taps.len() as f64,
                Kind::Max => values.fold(f64::NEG_INFINITY, f64::max),
            } as f32);
        });
    }
    y
}

/// Mean over the pixels of each plane.
pub fn global_average(pixels: usize, x: &[f32]) -> Vec<f32> {
    x.chunks_exact(pixels).map(|p| (p.iter().map(|&v| f64::from(v)).sum::<f64>() / pixels as f64) as f32).collect()
}

/// Every value of an image's channel times the gate of that channel.
pub fn gate(dims: Dims, x: &[f32], gate: &[f32]) -> Vec<f32> {
    x.iter().enumerate().map(|(i, v)| v * gate[i / dims.pixels()]).collect()
}

/// Bilinear resize of `planes` planes: see [`crate::resize::bilinear`].
pub fn bilinear(planes: usize, input: [usize; 2], output: [usize; 2], align_corners: bool, x: &[f32]) -> Vec<f32> {
    let place = |axis: usize, at: usize| {
        let (i, o, at) = (input[axis] as f64, output[axis] as f64, at as f64);
        match align_corners {
            true if output[axis] > 1 => at * (i - 1.0) / (o - 1.0),
            true => 0.0,
            false => ((at + 0.5) * i / o - 0.5).max(0.0),
        }
    };
    let mut y = Vec::new();
    for plane in x.chunks_exact(input[0] * input[1]).take(planes) {
        for oh in 0..output[0] {
            for ow in 0..output[1] {
                let (h, w) = (place(0, oh), place(1, ow));
                let (top, left) = ((h as usize).min(input[0] - 1), (w as usize).min(input[1] - 1));
                let (bottom, right) = ((top + 1).min(input[0] - 1), (left + 1).min(input[1] - 1));
                let (v, u) = (h - top as f64, w - left as f64);
                let at = |h: usize, w: usize| f64::from(plane[h * input[1] + w]);
                let above = at(top, left) * (1.0 - u) + at(top, right) * u;
                let below = at(bottom, left) * (1.0 - u) + at(bottom, right) * u;
                y.push((above * (1.0 - v) + below * v) as f32);
            }
        }
    }
    y
}
