//! Cutting photos to the network's size, at random: torchvision 0.29's `RandomResizedCrop`, `RandomCrop` and
//! `RandomHorizontalFlip`.

use crate::random::Random;
use mobilenet_net::preprocessing::{ChannelOrder, Filter, Preprocessing, Resize};
use mobilenet_run::resize::{Window, resize};
use mobilenet_run::{Image, preprocess};

/// Tries for a window inside the photo.
const TRIES: usize = 10;

/// What surrounds a photo that is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Border {
    /// Black.
    #[default]
    Zero,
    /// The photo mirrored at its outermost pixels, which are not repeated.
    Reflect,
}

/// A window of random place and shape: `RandomResizedCrop.get_params`.
///
/// `scale` is the range of its part of the photo's area, `ratio` that of width over height, uniform in its logarithm.
pub fn random_window(image: &Image, scale: [f32; 2], ratio: [f32; 2], random: &mut Random) -> Window {
    let (width, height) = (image.width as f64, image.height as f64);
    let [scale, ratio] = [scale, ratio].map(|range| range.map(f64::from));
    for _ in 0..TRIES {
        let area = width * height * random.range(scale);
        let aspect = random.range(ratio.map(f64::ln)).exp();
        let w = (area * aspect).sqrt().round_ties_even() as usize;
        let h = (area / aspect).sqrt().round_ties_even() as usize;
        if w > 0 && h > 0 && w <= image.width && h <= image.height {
            let top = random.below(image.height - h + 1);
            let left = random.below(image.width - w + 1);
            return Window { top, left, height: h, width: w };
        }
    }
    // The largest window in the middle whose shape is allowed.
    let aspect = width / height;
    let (w, h) = if aspect < ratio[0] {
        (image.width, (width / ratio[0]).round_ties_even() as usize)
    } else if aspect > ratio[1] {
        ((height * ratio[1]).round_ties_even() as usize, image.height)
    } else {
        (image.width, image.height)
    };
    let (w, h) = (w.clamp(1, image.width), h.clamp(1, image.height));
    Window { top: (image.height - h) / 2, left: (image.width - w) / 2, height: h, width: w }
}

/// The part of a photo in a window.
///
/// # Panics
/// If the window reaches beyond the photo.
pub fn cut(image: &Image, window: Window) -> Image {
    let mut rgb = Vec::with_capacity(window.height * window.width * 3);
    for row in image.rgb.chunks_exact(image.width * 3).skip(window.top).take(window.height) {
        rgb.extend_from_slice(&row[window.left * 3..(window.left + window.width) * 3]);
    }
    assert_eq!(rgb.len(), window.height * window.width * 3, "rows of the window");
    Image { width: window.width, height: window.height, rgb }
}

/// A random window of the padded photo, at the network's size; the photo is brought near that size first.
pub(crate) fn padded(
    image: &Image,
    pad: usize,
    border: Border,
    preprocessing: &Preprocessing,
    random: &mut Random,
) -> Image {
    let [height, width] = preprocessing.size;
    let near = cover([image.height, image.width], preprocessing);
    if near == [image.height, image.width] {
        return window_of_padded(image, pad, border, [height, width], random);
    }
    let resized = resize(image, near, preprocessing.filter);
    window_of_padded(&resized, pad, border, [height, width], random)
}

/// The smallest size in the photo's proportions that covers the network's; the network's own if it is trained on photos
/// out of proportion.
fn cover([height, width]: [usize; 2], preprocessing: &Preprocessing) -> [usize; 2] {
    let [to_height, to_width] = preprocessing.size;
    if matches!(preprocessing.resize, Resize::Squash | Resize::CentralFraction(_)) {
        return preprocessing.size;
    }
    let long = |long: usize, side: usize, short: usize| (long as u128 * side as u128 / short as u128) as usize;
    if to_height * width >= to_width * height {
        [to_height, long(to_height, width, height).max(to_width)]
    } else {
        [long(to_width, height, width).max(to_height), to_width]
    }
}

fn window_of_padded(
    image: &Image,
    pad: usize,
    border: Border,
    [height, width]: [usize; 2],
    random: &mut Random,
) -> Image {
    let top = random.below((image.height + 2 * pad).saturating_sub(height) + 1) as isize - pad as isize;
    let left = random.below((image.width + 2 * pad).saturating_sub(width) + 1) as isize - pad as isize;
    let source = |at: isize, side: usize| match border {
        Border::Zero => usize::try_from(at).ok().filter(|&at| at < side),
        Border::Reflect => Some(reflect(at, side)),
    };
    let mut rgb = vec![0; height * width * 3];
    for (y, row) in rgb.chunks_exact_mut(width * 3).enumerate() {
        let Some(from) = source(top + y as isize, image.height) else { continue };
        let from = &image.rgb[from * image.width * 3..][..image.width * 3];
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            if let Some(x) = source(left + x as isize, image.width) {
                pixel.copy_from_slice(&from[x * 3..x * 3 + 3]);
            }
        }
    }
    Image { width, height, rgb }
}

/// NumPy's `pad(mode="reflect")`, for any distance.
fn reflect(at: isize, side: usize) -> usize {
    let period = 2 * (side as isize - 1).max(1);
    let at = at.rem_euclid(period);
    (at.min(period - at) as usize).min(side - 1)
}

/// The middle, as evaluation sees it: resized to cover the network's size, then cut.
pub(crate) fn evaluation(image: &Image, preprocessing: &Preprocessing) -> Image {
    // Levels come through unchanged where the values are the levels themselves.
    let levels =
        Preprocessing { mean: [0.0; 3], std: [1.0 / 255.0; 3], channel_order: ChannelOrder::Rgb, ..*preprocessing };
    let [height, width] = preprocessing.size;
    let mut planes = vec![0.0; 3 * height * width];
    preprocess(image, &levels, &mut planes);
    let plane = height * width;
    let rgb = (0..plane).flat_map(|at| [0, 1, 2].map(|channel| planes[channel * plane + at].round() as u8)).collect();
    Image { width, height, rgb }
}

/// A random window, brought to the network's size.
pub(crate) fn resized(
    image: &Image,
    scale: [f32; 2],
    ratio: [f32; 2],
    to: &Preprocessing,
    random: &mut Random,
) -> Image {
    let window = random_window(image, scale, ratio, random);
    resize_exactly(cut(image, window), to.size, to.filter)
}

/// The whole photo at a size.
pub(crate) fn resize_exactly(image: Image, size: [usize; 2], filter: Filter) -> Image {
    if size == [image.height, image.width] { image } else { resize(&image, size, filter) }
}

/// Left becomes right.
pub fn flip(image: &mut Image) {
    for row in image.rgb.chunks_exact_mut(image.width * 3) {
        let (mut left, mut right) = (0, image.width - 1);
        while left < right {
            let (a, b) = row.split_at_mut(right * 3);
            a[left * 3..left * 3 + 3].swap_with_slice(&mut b[..3]);
            left += 1;
            right -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: usize, height: usize) -> Image {
        Image { width, height, rgb: (0..width * height).flat_map(|i| [i as u8; 3]).collect() }
    }

    #[test]
    fn reflection_leaves_out_the_edge() {
        // np.pad([0, 1, 2], 4, "reflect")
        let found: Vec<usize> = (-4..7).map(|at| reflect(at, 3)).collect();
        assert_eq!(found, [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert!((-5..5).all(|at| reflect(at, 1) == 0));
    }

    #[test]
    fn a_flip_mirrors_every_row() {
        let mut image = ramp(3, 2);
        flip(&mut image);
        assert_eq!(image.rgb.iter().step_by(3).copied().collect::<Vec<_>>(), [2, 1, 0, 5, 4, 3]);
    }

    #[test]
    fn windows_lie_inside_and_have_the_area_asked_for() {
        let image = ramp(200, 100);
        let mut random = Random::new(1, 0, 0);
        let mut smallest = f64::INFINITY;
        for _ in 0..2000 {
            let w = random_window(&image, [0.2, 1.0], [0.75, 4.0 / 3.0], &mut random);
            assert!(w.top + w.height <= 100 && w.left + w.width <= 200);
            let (part, aspect) = ((w.width * w.height) as f64 / 20_000.0, w.width as f64 / w.height as f64);
            assert!((0.19..=0.67).contains(&part) && (0.73..1.36).contains(&aspect), "{w:?}");
            smallest = smallest.min(part);
        }
        assert!(smallest < 0.21);
    }

    #[test]
    fn an_impossible_shape_gives_the_largest_window_in_the_middle() {
        let window = random_window(&ramp(100, 10), [1.0, 1.0], [0.5, 2.0], &mut Random::new(1, 0, 0));
        assert_eq!(window, Window { top: 0, left: 40, height: 10, width: 20 });
    }
}
