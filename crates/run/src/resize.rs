//! Resizing as Pillow does, by `fast_image_resize`.
//!
//! Both widen the filter by the factor when shrinking, convolve rows and columns apart, and round to 8 bits after each
//! (Pillow 13.0.0, `src/libImaging/Resample.c`). Weights here have 16 bits instead of Pillow's 22, so results differ in
//! 0.0 to 0.5 % of the bytes, nearly always by one level; `tests/resize.rs` holds them to Pillow's own results.

use crate::Image;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use mobilenet_net::preprocessing::Filter;

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// The photo at another size, `[height, width]`, both at least 1.
///
/// # Panics
/// If either is 0.
pub fn resize(image: &Image, [height, width]: [usize; 2], filter: Filter) -> Image {
    resize_window(image, [height, width], Window { top: 0, left: 0, height, width }, filter)
}

/// The photo with a long side of at most `most` pixels, in proportion; a smaller one as it is.
///
/// # Panics
/// If `most` is 0.
pub fn shrunk(image: &Image, most: usize, filter: Filter) -> Image {
    let long = image.width.max(image.height);
    if long <= most {
        return image.clone();
    }
    let side = |side: usize| (side * most / long).max(1);
    resize(image, [side(image.height), side(image.width)], filter)
}

/// A window of what [`resize`] would give, without the work for the rest: the crop after a resize, at the crop's cost.
///
/// Equal but for the rounding of weights, which the library adapts to the largest one it needs.
///
/// # Panics
/// If the window is empty or reaches beyond `size`.
pub fn resize_window(image: &Image, size: [usize; 2], window: Window, filter: Filter) -> Image {
    assert!(window.height > 0 && window.width > 0, "an empty window");
    assert!(window.top + window.height <= size[0] && window.left + window.width <= size[1], "a window beyond {size:?}");
    let (filter, support) = match filter {
        Filter::Bilinear => (FilterType::Bilinear, 1.0),
        // Keys' cubic with a = −0.5, Pillow's BICUBIC, bears this name there.
        Filter::Bicubic => (FilterType::CatmullRom, 2.0),
    };
    let mut options = ResizeOptions::new();
    options.algorithm = ResizeAlg::Convolution(filter);
    let mut resizer = Resizer::new();

    // The order matters, as each pass rounds. Asked for both at once, the library would always do columns first.
    let rows = Span::of(window.top, window.height, size[0], image.height);
    let columns = Span::of(window.left, window.width, size[1], image.width);
    let (width, height) = (window.width, window.height);
    let mut pass = |source, to, crop: [f64; 4]| {
        let [left, top, width, height] = crop;
        convolve(&mut resizer, source, to, &options.crop(left, top, width, height))
    };
    let rgb = if columns_first([image.height, image.width], size) {
        let (first, last) = columns.reach(support);
        let source = (image.width, image.height, image.rgb.as_slice());
        let crop = [first as f64, rows.start, (last - first) as f64, rows.length];
        let between = pass(source, (last - first, height), crop);
        let crop = [columns.start - first as f64, 0.0, columns.length, height as f64];
        pass((last - first, height, &between), (width, height), crop)
    } else {
        let (first, last) = rows.reach(support);
        let stride = image.width * 3;
        let source = (image.width, last - first, &image.rgb[first * stride..last * stride]);
        let crop = [columns.start, 0.0, columns.length, (last - first) as f64];
        let between = pass(source, (width, last - first), crop);
        let crop = [0.0, rows.start - first as f64, width as f64, rows.length];
        pass((width, last - first, &between), (width, height), crop)
    };
    Image { width: window.width, height: window.height, rgb }
}

/// Whether columns are convolved before rows: Pillow 13's rule (pull request 9549; found by comparing 3,000 pairs of
/// sizes). Pillow 12 and before always began with rows.
fn columns_first(from: [usize; 2], to: [usize; 2]) -> bool {
    to[0] < from[0] && from[0] + 2 * to[1] > to[0] + 2 * from[1]
}

/// The part of one axis of the source that a window of the result shows, in source pixels.
struct Span {
    start: f64,
    length: f64,
    /// Source pixels for one of the result.
    scale: f64,
    /// All source pixels of this axis.
    all: usize,
}

impl Span {
    /// For the window `from..from + count` of a result of `to` pixels, made from `all`.
    fn of(from: usize, count: usize, to: usize, all: usize) -> Span {
        let scale = all as f64 / to as f64;
        let start = from as f64 * scale;
        // Rounding must not carry the end past the source's.
        Span { start, length: (count as f64 * scale).min(all as f64 - start), scale, all }
    }

    /// First pixel and one past the last that a filter of this support touches.
    fn reach(&self, support: f64) -> (usize, usize) {
        let radius = support * self.scale.max(1.0);
        let first = (self.start - radius).floor().max(0.0) as usize;
        let last = (self.start + self.length + radius).ceil() as usize;
        (first, last.min(self.all))
    }
}

/// One call of the library: `source` is width, height and bytes, `to` width and height.
fn convolve(
    resizer: &mut Resizer,
    (width, height, rgb): (usize, usize, &[u8]),
    to: (usize, usize),
    options: &ResizeOptions,
) -> Vec<u8> {
    // Typed, so that the library's code for other pixels, 3 MB of it, stays out of the program. Sides fit 32 bits: the
    // source's by MAX_SIDE, the window's because its bytes exist.
    let source = TypedImageRef::<U8x3>::from_buffer(width as u32, height as u32, rgb).expect("3 bytes a pixel");
    let mut bytes = vec![0; to.0 * to.1 * 3];
    let mut target = TypedImage::<U8x3>::from_buffer(to.0 as u32, to.1 as u32, &mut bytes).expect("3 bytes a pixel");
    resizer.resize_typed(&source, &mut target, options).expect("the window lies in the source");
    bytes
}
