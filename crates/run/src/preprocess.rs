//! From a photo to the tensor that the weights expect, as torchvision does it.
//!
//! Sizes, crop and padding follow torchvision 0.29 (`transforms/functional.py`: `_compute_resized_output_size`,
//! `center_crop`, `normalize`), so that its published accuracies hold here; the filter follows Pillow, see
//! [`resize`](mod@crate::resize).

use crate::Image;
use crate::resize::{Window, resize_window};
use mobilenet_net::preprocessing::{Preprocessing, Resize};
use std::borrow::Cow;

/// Resizes, crops and normalises `image` into `out`: 3×H×W values, planes of
/// [`Preprocessing::size`] in the [channel order](Preprocessing::channel_order), each `(level / 255 − mean) / std`.
///
/// Where the resized photo is smaller than the crop, black surrounds it, as in torchvision.
///
/// # Panics
/// If `out` has another length, if a size in `preprocessing` is 0, or if the photo has no pixels.
pub fn preprocess(image: &Image, preprocessing: &Preprocessing, out: &mut [f32]) {
    let [height, width] = preprocessing.size;
    let plane = height * width;
    assert!(plane > 0, "an input of {height}×{width} pixels");
    assert_eq!(out.len(), 3 * plane, "values for 3×{height}×{width}");
    assert_eq!(image.rgb.len(), image.width * image.height * 3, "bytes of a {}×{} photo", image.width, image.height);

    let (source, [full_height, full_width]) = arrange(image, preprocessing);
    let (rows, columns) = (Axis::centre(full_height, height), Axis::centre(full_width, width));
    let window = Window { top: rows.skip, left: columns.skip, height: rows.count, width: columns.count };
    let photo = resize_window(&source, [full_height, full_width], window, preprocessing.filter);

    for (plane, color) in out.chunks_exact_mut(plane).zip(preprocessing.channel_order.colors()) {
        let value = levels(preprocessing, color);
        if (rows.count, columns.count) != (height, width) {
            plane.fill(value[0]);
        }
        let rows_out = plane.chunks_exact_mut(width).skip(rows.pad);
        for (to, from) in rows_out.zip(photo.rgb.chunks_exact(photo.width * 3)) {
            for (to, from) in to[columns.pad..].iter_mut().zip(from.chunks_exact(3)) {
                *to = value[usize::from(from[color])];
            }
        }
    }
}

/// The input's value for each level of a colour, 0 red, 1 green, 2 blue: there are only 256, which spares a division a
/// pixel.
pub fn levels(preprocessing: &Preprocessing, color: usize) -> [f32; 256] {
    let (mean, std) = (preprocessing.mean[color], preprocessing.std[color]);
    std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std)
}

/// The part of a photo that the network sees, in parts of its height and width: top, left, height, width. Where black
/// surrounds the photo it reaches beyond 0..1.
pub fn seen(image: &Image, preprocessing: &Preprocessing) -> [f64; 4] {
    let (source, full) = arrange(image, preprocessing);
    // The middle of the photo that is resized, and the middle of that.
    let axis = |full: usize, crop: usize, source: usize, whole: usize| {
        let Axis { skip, pad, .. } = Axis::centre(full, crop);
        let margin = ((whole - source) / 2) as f64;
        let at = |pixel: f64| (margin + pixel / full as f64 * source as f64) / whole as f64;
        let start = at(skip as f64 - pad as f64);
        (start, at(skip as f64 - pad as f64 + crop as f64) - start)
    };
    let [height, width] = preprocessing.size;
    let (top, rows) = axis(full[0], height, source.height, image.height);
    let (left, columns) = axis(full[1], width, source.width, image.width);
    [top, left, rows, columns]
}

/// What is resized, and to which height and width.
fn arrange<'a>(image: &'a Image, preprocessing: &Preprocessing) -> (Cow<'a, Image>, [usize; 2]) {
    match preprocessing.resize {
        Resize::ShortSide(short) => {
            assert!(short > 0, "a short side of 0 pixels");
            (Cow::Borrowed(image), short_side(image.height, image.width, short))
        }
        Resize::Squash => (Cow::Borrowed(image), preprocessing.size),
        Resize::CentralFraction(fraction) => (Cow::Owned(central(image, fraction)), preprocessing.size),
    }
}

/// Height and width with the short side at `short`, the long one truncated.
fn short_side(height: usize, width: usize, short: usize) -> [usize; 2] {
    let long = |long: usize, side: usize| (short as u128 * long as u128 / side as u128) as usize;
    if width <= height { [long(height, width), short] } else { [short, long(width, height)] }
}

/// The middle of a photo, `fraction` of either side, cut out before anything is resized (TensorFlow's
/// `image.central_crop`: what is left out on either side is truncated).
fn central(image: &Image, fraction: f32) -> Image {
    let margin = |side: usize| {
        let out = (side as f64 - side as f64 * f64::from(fraction.clamp(0.0, 1.0))) / 2.0;
        // At least one pixel stays.
        (out as usize).min((side - 1) / 2)
    };
    let (top, left) = (margin(image.height), margin(image.width));
    let (height, width) = (image.height - 2 * top, image.width - 2 * left);
    let rows = image.rgb.chunks_exact(image.width * 3).skip(top).take(height);
    let rgb = rows.flat_map(|row| &row[left * 3..(left + width) * 3]).copied().collect();
    Image { width, height, rgb }
}

/// A centred crop along one axis.
#[derive(Debug, PartialEq)]
struct Axis {
    /// Pixels of the photo before the crop.
    skip: usize,
    /// Pixels of the photo in the crop.
    count: usize,
    /// Black pixels before them.
    pad: usize,
}

impl Axis {
    /// `crop` of `full` pixels.
    fn centre(full: usize, crop: usize) -> Axis {
        if full <= crop {
            return Axis { skip: 0, count: full, pad: (crop - full) / 2 };
        }
        // Python's round: halves go to the even neighbour.
        let (half, odd) = ((full - crop) / 2, (full - crop) % 2);
        Axis { skip: half + (odd & half), count: crop, pad: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_side_is_truncated_as_torchvision_does() {
        assert_eq!(short_side(375, 500, 256), [256, 341]);
        assert_eq!(short_side(500, 333, 256), [384, 256]);
        assert_eq!(short_side(7, 7, 232), [232, 232]);
        assert_eq!(short_side(1, 65_535, 256), [256, 16_776_960]);
    }

    #[test]
    fn crop_offsets_round_halves_to_even() {
        // int(round((full − 224) / 2)) in Python.
        for (full, skip) in [(224, 0), (225, 0), (226, 1), (227, 2), (228, 2), (229, 2), (231, 4), (341, 58), (343, 60)]
        {
            assert_eq!(Axis::centre(full, 224), Axis { skip, count: 224, pad: 0 }, "{full}");
        }
    }

    #[test]
    fn small_photos_are_padded_with_the_odd_pixel_after() {
        assert_eq!(Axis::centre(5, 8), Axis { skip: 0, count: 5, pad: 1 });
        assert_eq!(Axis::centre(4, 8), Axis { skip: 0, count: 4, pad: 2 });
    }

    #[test]
    fn central_fraction_keeps_whole_pixels_and_at_least_one() {
        let photo = |width, height| Image { width, height, rgb: vec![7; width * height * 3] };
        let size = |image: Image| (image.width, image.height);
        assert_eq!(size(central(&photo(500, 375), 0.875)), (438, 329));
        assert_eq!(size(central(&photo(1, 2), 0.1)), (1, 2));
        assert_eq!(size(central(&photo(9, 9), 0.0)), (1, 1));
        assert_eq!(size(central(&photo(9, 9), 2.0)), (9, 9));
    }
}
