//! Resizing against Pillow 13's own results.

mod common;

use common::{difference, open};
use mobilenet_net::preprocessing::Filter;
use mobilenet_run::Image;
use mobilenet_run::resize::{Window, resize, resize_window};
use proptest::prelude::*;

#[test]
fn resizing_matches_pillow_up_and_down_at_odd_sizes() {
    let source = open("source.png");
    for (name, filter) in [("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic)] {
        // 11×61 shrinks rows only; 20×58 is one where Pillow 13 begins with columns.
        for (height, width) in [(23, 30), (94, 122), (47, 20), (11, 61), (31, 90), (1, 1), (20, 58)] {
            let expected = open(&format!("resized_{name}_{height}x{width}.png"));
            let (largest, share) = difference(&resize(&source, [height, width], filter), &expected);
            assert!(
                largest <= 1 && share <= 0.01,
                "{name} {height}×{width}: {largest} levels, {share:.4} of the bytes"
            );
        }
    }
}

#[test]
fn the_same_size_is_the_same_photo() {
    let source = open("source.png");
    for filter in [Filter::Bilinear, Filter::Bicubic] {
        assert_eq!(resize(&source, [47, 61], filter), source);
    }
}

#[test]
fn extreme_shapes_resize() {
    for (width, height) in [(1, 5000), (5000, 1), (65_535, 1), (1, 65_535), (1, 1)] {
        let grey = Image { width, height, rgb: vec![90; width * height * 3] };
        let small = resize(&grey, [7, 5], Filter::Bicubic);
        assert!(small.rgb.iter().all(|&level| level == 90), "{width}×{height}");
    }
}

fn noise(width: usize, height: usize, seed: u32) -> Image {
    let mut state = seed;
    let mut level = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    Image { width, height, rgb: (0..width * height * 3).map(|_| level()).collect() }
}

proptest! {
    #[test]
    fn a_window_equals_the_same_part_of_the_whole(
        (width, height) in (1usize..60, 1usize..60),
        (to_height, to_width) in (1usize..80, 1usize..80),
        corners in prop::array::uniform4(0.0f64..1.0),
        seed: u32,
        bicubic: bool,
    ) {
        let filter = if bicubic { Filter::Bicubic } else { Filter::Bilinear };
        let source = noise(width, height, seed);
        let within = |a: f64, b: f64, side: usize| {
            let first = (a * side as f64) as usize;
            (first, 1 + (b * (side - first) as f64) as usize)
        };
        let (top, rows) = within(corners[0], corners[1], to_height);
        let (left, columns) = within(corners[2], corners[3], to_width);
        let window = Window { top, left, height: rows.min(to_height - top), width: columns.min(to_width - left) };

        let whole = resize(&source, [to_height, to_width], filter);
        let part = resize_window(&source, [to_height, to_width], window, filter);
        let expected = (top..top + window.height)
            .flat_map(|y| whole.rgb[(y * to_width + left) * 3..][..window.width * 3].to_vec())
            .collect();
        // The library scales its 16-bit weights by the largest of them, and a window may lack that one: the same weights
        // are then rounded more finely. A window at the wrong place would be off by a hundred levels in noise.
        let (largest, share) = difference(&part, &Image { width: window.width, height: window.height, rgb: expected });
        prop_assert!(largest <= 2, "{largest} levels in {share} of the bytes");
    }
}
