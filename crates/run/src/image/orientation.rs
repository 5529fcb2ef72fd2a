//! Turning photos upright.

use super::Image;
use ::image::metadata::Orientation;

/// Side of the squares that are turned one after the other, so that reads and writes both stay in the cache.
const BLOCK: usize = 32;

/// The photo as the camera's holder saw it.
pub(super) fn upright(image: Image, orientation: Orientation) -> Image {
    let (w, h) = (image.width as isize, image.height as isize);
    // Pixel (x, y) of the result lies at `start + x · right + y · down` of the source, counted in pixels.
    let (start, right, down) = match orientation {
        Orientation::NoTransforms => return image,
        Orientation::FlipHorizontal => (w - 1, -1, w),
        Orientation::Rotate180 => (w * h - 1, -1, -w),
        Orientation::FlipVertical => (w * (h - 1), 1, -w),
        Orientation::Rotate90FlipH => (0, w, 1),
        Orientation::Rotate90 => (w * (h - 1), -w, 1),
        Orientation::Rotate270FlipH => (w * h - 1, -w, -1),
        Orientation::Rotate270 => (w - 1, w, -1),
    };
    let (width, height) = if right.abs() == 1 { (image.width, image.height) } else { (image.height, image.width) };
    let mut rgb = vec![0; image.rgb.len()];
    for top in (0..height).step_by(BLOCK) {
        for left in (0..width).step_by(BLOCK) {
            for y in top..(top + BLOCK).min(height) {
                for x in left..(left + BLOCK).min(width) {
                    let from = (start + x as isize * right + y as isize * down) as usize * 3;
                    let to = (y * width + x) * 3;
                    rgb[to..to + 3].copy_from_slice(&image.rgb[from..from + 3]);
                }
            }
        }
    }
    Image { width, height, rgb }
}
