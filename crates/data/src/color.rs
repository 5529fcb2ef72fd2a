//! Colour operations on 8-bit photos, as torchvision 0.29 calls them from Pillow 13: `ImageEnhance`, `ImageOps` and
//! `src/libImaging/{Blend,Convert,Filter}.c`.

use crate::random::Random;
use mobilenet_run::Image;

/// Random changes of colour (torchvision's `ColorJitter`), in random order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Jitter {
    /// Factors from `1 − brightness` to `1 + brightness`.
    pub brightness: f32,
    /// Factors from `1 − contrast` to `1 + contrast`.
    pub contrast: f32,
    /// Factors from `1 − saturation` to `1 + saturation`.
    pub saturation: f32,
    /// Shifts from `−hue` to `hue` of the colour circle, at most 0.5.
    pub hue: f32,
}

impl Jitter {
    /// Changes the photo's colours.
    pub fn apply(&self, image: &mut Image, random: &mut Random) {
        let mut order = [0, 1, 2, 3];
        random.shuffle(&mut order);
        let strengths = [self.brightness, self.contrast, self.saturation, self.hue].map(f64::from);
        let mut factor = |strength: f64| random.range([(1.0 - strength).max(0.0), 1.0 + strength]);
        let [b, c, s] = [strengths[0], strengths[1], strengths[2]].map(&mut factor);
        let hue = strengths[3].min(0.5);
        let shift = random.range([-hue, hue]);
        for change in order {
            match change {
                // One that was not asked for would round for nothing.
                i if strengths[i] <= 0.0 => {}
                0 => brightness(image, b),
                1 => contrast(image, c),
                2 => saturation(image, s),
                _ => self::hue(image, shift),
            }
        }
    }
}

/// `Image.blend`: from `from` (factor 0) to `to` (1) and beyond, in single precision and truncated.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    // `as` stops at 0 and 255, as Pillow does beyond factors of 0 and 1.
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Replaces every level by a table's.
fn map(image: &mut Image, table: &[u8; 256]) {
    for level in &mut image.rgb {
        *level = table[usize::from(*level)];
    }
}

/// Replaces every level by its channel's table's.
fn map_channels(image: &mut Image, table: impl Fn(&[u32; 256]) -> [u8; 256]) {
    let tables = histograms(image).map(|histogram| table(&histogram));
    for pixel in image.rgb.chunks_exact_mut(3) {
        for (level, table) in pixel.iter_mut().zip(&tables) {
            *level = table[usize::from(*level)];
        }
    }
}

fn levels(f: impl Fn(u8) -> u8) -> [u8; 256] {
    std::array::from_fn(|level| f(level as u8))
}

/// How often each level occurs, for red, green and blue.
fn histograms(image: &Image) -> [[u32; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.rgb.chunks_exact(3) {
        for (counts, &level) in counts.iter_mut().zip(pixel) {
            counts[usize::from(level)] += 1;
        }
    }
    counts
}

/// Pillow's `convert("L")`: ITU-R 601-2 luma with 16 bits behind the point.
fn grey(pixel: &[u8]) -> u8 {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// Black at 0, unchanged at 1.
pub fn brightness(image: &mut Image, factor: f64) {
    map(image, &levels(|level| blend(0, level, factor as f32)));
}

/// The mean grey at 0, unchanged at 1.
pub fn contrast(image: &mut Image, factor: f64) {
    let sum: u64 = image.rgb.chunks_exact(3).map(|pixel| u64::from(grey(pixel))).sum();
    let mean = (sum as f64 / (image.rgb.len() / 3) as f64 + 0.5) as u8;
    map(image, &levels(|level| blend(mean, level, factor as f32)));
}

/// Grey at 0, unchanged at 1.
pub fn saturation(image: &mut Image, factor: f64) {
    for pixel in image.rgb.chunks_exact_mut(3) {
        let grey = grey(pixel);
        for level in pixel {
            *level = blend(grey, *level, factor as f32);
        }
    }
}

/// Turns the colour circle by `shift` of a full turn, from −0.5 to 0.5.
pub fn hue(image: &mut Image, shift: f64) {
    // Truncated to an integer, then wrapped to 8 bits.
    let shift = (shift * 255.0) as i32 as u8;
    for pixel in image.rgb.chunks_exact_mut(3) {
        let [h, s, v] = to_hsv([pixel[0], pixel[1], pixel[2]]);
        pixel.copy_from_slice(&to_rgb([h.wrapping_add(shift), s, v]));
    }
}

/// `rgb2hsv_row`, with its mixture of single and double precision.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let away = |level: u8| f32::from(most - level) / range;
    let (rc, gc, bc) = (away(r), away(g), away(b));
    let h = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let h = ((f64::from(h) / 6.0 + 1.0) % 1.0) as f32;
    let s = range / f32::from(most);
    [(f64::from(h) * 255.0) as u8, (f64::from(s) * 255.0) as u8, most]
}

/// `hsv2rgb`, likewise.
fn to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let turn = f64::from(h) * 6.0 / 255.0;
    let sector = turn.floor();
    let f = f64::from((turn - sector) as f32);
    let fs = f64::from((f64::from(s) / 255.0) as f32);
    let level = |less: f64| (f64::from(v) * (1.0 - less)).round() as u8;
    let (p, q, t) = (level(fs), level(fs * f), level(fs * (1.0 - f)));
    match sector as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// Blurred at 0, unchanged at 1, sharpened above.
pub fn sharpness(image: &mut Image, factor: f64) {
    let smooth = smoothed(image);
    for (level, smooth) in image.rgb.iter_mut().zip(smooth) {
        *level = blend(smooth, *level, factor as f32);
    }
}

/// Pillow's `ImageFilter.SMOOTH`: 5 in the middle, 1 around it, over 13; the edge stays.
fn smoothed(image: &Image) -> Vec<u8> {
    let mut out = image.rgb.clone();
    let stride = image.width * 3;
    for y in 1..image.height.saturating_sub(1) {
        let inner = y * stride + 3..((y + 1) * stride - 3).max(y * stride + 3);
        for (level, at) in out[inner.clone()].iter_mut().zip(inner) {
            let row = |at: usize| [at - 3, at, at + 3].map(|i| u32::from(image.rgb[i])).iter().sum::<u32>();
            let sum = row(at - stride) + row(at) + row(at + stride) + 4 * u32::from(image.rgb[at]);
            *level = ((2 * sum + 13) / 26) as u8;
        }
    }
    out
}

/// Keeps the highest `bits` of each level.
pub fn posterize(image: &mut Image, bits: u32) {
    let mask = !(0xff_u32 >> bits.min(8)) as u8;
    map(image, &levels(|level| level & mask));
}

/// Inverts levels from `threshold` on.
pub fn solarize(image: &mut Image, threshold: f64) {
    map(image, &levels(|level| if f64::from(level) < threshold { level } else { 255 - level }));
}

/// The negative.
pub fn invert(image: &mut Image) {
    map(image, &levels(|level| 255 - level));
}

/// Stretches each channel from black to white.
pub fn autocontrast(image: &mut Image) {
    map_channels(image, |histogram| {
        let low = histogram.iter().position(|&count| count > 0).unwrap_or(0);
        let high = histogram.iter().rposition(|&count| count > 0).unwrap_or(0);
        if high <= low {
            return levels(|level| level);
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        levels(|level| (f64::from(level) * scale + offset) as u8)
    });
}

/// Spreads each channel's levels so that all are as frequent.
pub fn equalize(image: &mut Image) {
    map_channels(image, |histogram| {
        let all: u32 = histogram.iter().sum();
        let last = histogram.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (all - last) / 255;
        if step == 0 {
            return levels(|level| level);
        }
        let mut below = step / 2;
        std::array::from_fn(|level| {
            let result = (below / step).min(255) as u8;
            below += histogram[level];
            result
        })
    });
}
