//! The blocked layout `[N][⌈C/16⌉][H][W][16]` and its conversion from and to plain tensors.
//!
//! One pixel of a block is a cache line: one AVX-512 register, two AVX2 or four NEON registers. Lanes beyond the last
//! channel are zero. The layout never leaves this crate, the compiler and the trainer.

/// Channels in a block.
pub const LANES: usize = 16;

/// Blocks that `channels` need.
pub const fn blocks(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// Product of sizes. Every length that a kernel checks its buffers against comes from here: a product that wrapped would
/// pass for a small one.
///
/// # Panics
/// Beyond the address space.
pub(crate) fn volume(sizes: &[usize]) -> usize {
    let volume = sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
    volume.filter(|&p| p <= isize::MAX as usize / size_of::<f32>()).expect("a tensor within the address space")
}

/// Values that a blocked tensor of these sizes holds.
///
/// # Panics
/// Beyond the address space.
pub fn blocked_len(n: usize, channels: usize, h: usize, w: usize) -> usize {
    volume(&[n, blocks(channels), h, w, LANES])
}

/// Order of a plain tensor's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// Channels before height and width: PyTorch's.
    #[default]
    Nchw,
    /// Channels last: TensorFlow's, and photos'.
    Nhwc,
}

/// Sizes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
}

impl Dims {
    /// Pixels of an image.
    pub fn pixels(&self) -> usize {
        volume(&[self.h, self.w])
    }

    /// Values in plain order.
    pub fn len(&self) -> usize {
        volume(&[self.n, self.c, self.h, self.w])
    }

    /// True where a size is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values in the blocked layout.
    pub fn blocked_len(&self) -> usize {
        blocked_len(self.n, self.c, self.h, self.w)
    }

    /// Distances in a plain tensor between images, channels and pixels.
    fn strides(&self, order: Order) -> [usize; 3] {
        match order {
            Order::Nchw => [self.c * self.pixels(), self.pixels(), 1],
            Order::Nhwc => [self.c * self.pixels(), 1, self.c],
        }
    }
}

/// Plain to blocked; `y` is overwritten whole.
///
/// # Panics
/// Where the lengths do not fit `dims`.
pub fn to_blocked(x: &[f32], dims: Dims, order: Order, y: &mut [f32]) {
    assert_eq!((x.len(), y.len()), (dims.len(), dims.blocked_len()), "buffers against {dims:?}");
    let [image, channel, pixel] = dims.strides(order);
    for (i, block) in y.chunks_exact_mut(dims.pixels() * LANES).enumerate() {
        let (n, first) = (i / blocks(dims.c), i % blocks(dims.c) * LANES);
        let lanes = LANES.min(dims.c - first);
        for (p, out) in block.chunks_exact_mut(LANES).enumerate() {
            let at = n * image + first * channel + p * pixel;
            for (lane, v) in out.iter_mut().enumerate() {
                *v = if lane < lanes { x[at + lane * channel] } else { 0.0 };
            }
        }
    }
}

/// Blocked to plain; `y` is overwritten whole.
///
/// # Panics
/// Where the lengths do not fit `dims`.
pub fn from_blocked(x: &[f32], dims: Dims, order: Order, y: &mut [f32]) {
    assert_eq!((x.len(), y.len()), (dims.blocked_len(), dims.len()), "buffers against {dims:?}");
    let [image, channel, pixel] = dims.strides(order);
    for (i, block) in x.chunks_exact(dims.pixels() * LANES).enumerate() {
        let (n, first) = (i / blocks(dims.c), i % blocks(dims.c) * LANES);
        let lanes = LANES.min(dims.c - first);
        for (p, values) in block.chunks_exact(LANES).enumerate() {
            let at = n * image + first * channel + p * pixel;
            for (lane, &v) in values[..lanes].iter().enumerate() {
                y[at + lane * channel] = v;
            }
        }
    }
}

/// Whether every lane beyond the last channel is zero.
pub fn padding_is_zero(x: &[f32], dims: Dims) -> bool {
    let used = dims.c % LANES;
    used == 0
        || x.chunks_exact(dims.pixels() * LANES)
            .skip(blocks(dims.c) - 1)
            .step_by(blocks(dims.c))
            .all(|block| block.chunks_exact(LANES).all(|pixel| pixel[used..].iter().all(|&v| v == 0.0)))
}
