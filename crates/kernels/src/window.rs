//! Where a sliding window meets an image's edges.

use crate::layout::volume;

/// More columns than any tile has.
const LARGEST_TILE: usize = 16;

/// A window over height and width, with the zeros before each axis. Pairs are height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Zeros before the input. Those behind it follow from `output`.
    pub before: [usize; 2],
}

impl Geometry {
    /// Pixels of the input and of the output.
    pub fn pixels(&self) -> [usize; 2] {
        [volume(&self.input), volume(&self.output)]
    }

    /// # Panics
    /// Where a size of the window is zero or so large that index arithmetic could wrap.
    pub(crate) fn check(&self) {
        for i in [0, 1] {
            let window = [self.kernel[i], self.stride[i], self.dilation[i]];
            assert!(window.iter().all(|&size| size > 0), "a window of size, stride or dilation zero: {self:?}");
            let reach = volume(&[self.kernel[i], self.dilation[i]]);
            let most = volume(&[self.output[i].max(1) + LARGEST_TILE, self.stride[i]]);
            let ends = [reach, most, self.input[i], self.before[i]];
            assert!(ends.iter().all(|&end| end < 1 << 40), "a window beyond any image: {self:?}");
        }
    }

    /// The window that leads from the output's gradient to the input's, at stride 1, for flipped weights.
    ///
    /// # Panics
    /// At another stride.
    pub fn transposed(&self) -> Geometry {
        assert_eq!(self.stride, [1; 2], "the way back through a stride is no window");
        // Negative, as two's complement, where more than the window is padded: `start` and `taps` take it as such.
        let before = |i: usize| ((self.kernel[i] - 1) * self.dilation[i]).wrapping_sub(self.before[i]);
        Geometry { input: self.output, output: self.input, before: [before(0), before(1)], ..*self }
    }

    /// The taps of `axis` that lie inside the input for output `at`.
    pub(crate) fn taps(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let (start, dilation) = ((at * self.stride[axis]) as isize - self.before[axis] as isize, self.dilation[axis]);
        let first = (-start).max(0) as usize;
        let beyond = (self.input[axis] as isize - start).max(0) as usize;
        let first = first.div_ceil(dilation).min(self.kernel[axis]);
        first..beyond.div_ceil(dilation).clamp(first, self.kernel[axis])
    }

    /// First input coordinate of `axis` that output `at` looks at; negative inside the padding.
    pub(crate) fn start(&self, axis: usize, at: usize) -> isize {
        (at * self.stride[axis]) as isize - self.before[axis] as isize
    }
}

/// The tile that continues a row of `width` columns at `column`: where it begins, and its columns, one of `most`, 7, 4, 2
/// and 1. Where more than half of a full tile is left, a full one begins earlier and computes some columns twice.
#[inline(always)]
pub(crate) fn next_tile(column: usize, width: usize, most: usize) -> (usize, usize) {
    let left = width - column;
    if left >= most {
        (column, most)
    } else if left > most / 2 && width >= most {
        (width - most, most)
    } else {
        (column, [7, 4, 2, 1].into_iter().find(|&q| q <= left && q < most).unwrap_or(1))
    }
}
