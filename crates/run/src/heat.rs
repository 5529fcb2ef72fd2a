//! A heat map over the photo that it is about.

use mobilenet_net::preprocessing::Preprocessing;

use crate::image::Image;
use crate::preprocess::seen;
use crate::resize::shrunk;

/// The long side of a picture that is drawn: more shows nothing of a map of 7×7.
const LONG_SIDE: usize = 1024;

/// How much of the colour the hottest place takes.
const STRENGTH: f32 = 0.65;

/// The photo with a map of `rows`×`columns` values between 0 and 1 over the part that the network sees: cold places show the
/// photo, hot ones red (the colours of Mikhailov's Turbo). What the network does not see is darkened.
///
/// # Panics
/// Where `map` has another length.
pub fn overlay(photo: &Image, preprocessing: &Preprocessing, [rows, columns]: [usize; 2], map: &[f32]) -> Image {
    assert_eq!(map.len(), rows * columns, "a map of {rows}×{columns}");
    let mut picture = shrunk(photo, LONG_SIDE, preprocessing.filter);
    let [top, left, height, width] = seen(photo, preprocessing);
    let (width_out, height_out) = (picture.width, picture.height);
    for (at, pixel) in picture.rgb.chunks_exact_mut(3).enumerate() {
        let (x, y) = (at % width_out, at / width_out);
        // Where the pixel's middle lies in the network's input, from 0 to 1.
        let v = ((y as f64 + 0.5) / height_out as f64 - top) / height;
        let u = ((x as f64 + 0.5) / width_out as f64 - left) / width;
        if !(0.0..=1.0).contains(&u) || !(0.0..=1.0).contains(&v) {
            pixel.iter_mut().for_each(|level| *level /= 2);
            continue;
        }
        let heat = between(map, [rows, columns], [v * rows as f64 - 0.5, u * columns as f64 - 0.5]);
        let color = colorous::TURBO.eval_continuous(f64::from(heat)).as_array();
        let share = STRENGTH * heat;
        for (level, color) in pixel.iter_mut().zip(color) {
            *level = (f32::from(*level) * (1.0 - share) + f32::from(color) * share).round() as u8;
        }
    }
    picture
}

/// Bilinear interpolation at a row and column; beyond the middles of the outermost places, theirs.
fn between(map: &[f32], [rows, columns]: [usize; 2], [row, column]: [f64; 2]) -> f32 {
    let axis = |at: f64, count: usize| {
        let at = at.clamp(0.0, (count - 1) as f64);
        (at as usize, (at as usize + 1).min(count - 1), at.fract() as f32)
    };
    let ((top, bottom, down), (left, right, along)) = (axis(row, rows), axis(column, columns));
    let across = |row: usize| map[row * columns + left] * (1.0 - along) + map[row * columns + right] * along;
    across(top) * (1.0 - down) + across(bottom) * down
}

#[cfg(test)]
mod tests {
    use mobilenet_net::Origin;
    use mobilenet_net::graph::Padding;

    use super::*;

    #[test]
    fn the_hot_place_lies_where_the_network_saw_it() {
        // 200×100 pixels: the middle 87.5×87.5 is seen, its right lower quarter is hot.
        let photo = Image::from_rgb(200, 100, vec![100; 60_000]).unwrap();
        let how = Preprocessing::for_origin(Origin::Torchvision, Padding::Symmetric, 10, None);
        let picture = overlay(&photo, &how, [2, 2], &[0.0, 0.0, 0.0, 1.0]);
        let pixel = |x: usize, y: usize| &picture.rgb[(y * 200 + x) * 3..][..3];
        assert_eq!(pixel(10, 50), [50; 3], "not seen");
        assert_eq!(pixel(70, 20), [100; 3], "cold");
        let [r, g, b] = [0, 1, 2].map(|i| pixel(135, 85)[i]);
        assert!(r > 100 && g < 60 && b < 60, "hot: {r} {g} {b}");
    }

    #[test]
    fn between_the_middles_it_is_bilinear() {
        let map = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(between(&map, [2, 2], [0.5, 0.5]), 1.5);
        assert_eq!(between(&map, [2, 2], [-3.0, 9.0]), 1.0);
        assert_eq!(between(&[4.0], [1, 1], [0.2, -0.4]), 4.0);
    }
}
