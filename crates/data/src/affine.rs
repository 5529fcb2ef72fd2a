//! Rotating, shearing and shifting: Pillow 13's `Image.transform` with `AFFINE` (`src/libImaging/Geometry.c`).

use mobilenet_run::Image;

/// How a point between pixels is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// The pixel it lies in: what AutoAugment and RandAugment do unless told otherwise.
    #[default]
    Nearest,
    /// From the four pixels around it.
    Bilinear,
}

/// From a point of the result to one of the source: `x' = m[0]·x + m[1]·y + m[2]`, `y' = m[3]·x + m[4]·y + m[5]`.
pub type Matrix = [f64; 6];

/// Content moves left by `factor` for each row down, from the top left corner (torchvision's `ShearX`).
pub fn shear_x(factor: f64) -> Matrix {
    [1.0, factor, 0.0, 0.0, 1.0, 0.0]
}

/// Content moves up by `factor` for each column, from the top left corner (torchvision's `ShearY`).
pub fn shear_y(factor: f64) -> Matrix {
    [1.0, 0.0, 0.0, factor, 1.0, 0.0]
}

/// Content moves right by `x` pixels and down by `y`.
pub fn translate(x: f64, y: f64) -> Matrix {
    [1.0, 0.0, -x, 0.0, 1.0, -y]
}

/// Content turns about the middle, against the clock (Pillow's `Image.rotate`).
pub fn rotate(image: &Image, degrees: f64) -> Matrix {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    // As Pillow does, so that quarter turns have no crumbs.
    let round = |value: f64| (value * 1e15).round_ties_even() / 1e15;
    let (cos, sin) = (round(angle.cos()), round(angle.sin()));
    let (x, y) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    [cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y]
}

/// The photo seen through a matrix, at its own size; `fill` is what lies outside.
pub fn transform(image: &Image, matrix: &Matrix, sampling: Sampling, fill: [u8; 3]) -> Image {
    let mut rgb = Vec::with_capacity(image.rgb.len());
    let fixed = fits_fixed(image, matrix).then(|| Fixed::new(matrix));
    for y in 0..image.height {
        for x in 0..image.width {
            let pixel = match (sampling, &fixed) {
                (Sampling::Nearest, Some(fixed)) => fixed.nearest(image, x, y),
                (Sampling::Nearest, None) => nearest(image, apply(matrix, x, y)),
                (Sampling::Bilinear, _) => bilinear(image, apply(matrix, x, y)),
            };
            rgb.extend(pixel.unwrap_or(fill));
        }
    }
    Image { width: image.width, height: image.height, rgb }
}

/// Where the middle of a pixel of the result lies in the source.
fn apply(m: &Matrix, x: usize, y: usize) -> [f64; 2] {
    let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
    [m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]]
}

fn pixel(image: &Image, x: usize, y: usize) -> [u8; 3] {
    let at = (y * image.width + x) * 3;
    [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]]
}

/// A coordinate's pixel, if it has one.
fn inside(at: f64, side: usize) -> Option<usize> {
    (at >= 0.0 && at < side as f64).then_some(at as usize)
}

fn nearest(image: &Image, [x, y]: [f64; 2]) -> Option<[u8; 3]> {
    Some(pixel(image, inside(x, image.width)?, inside(y, image.height)?))
}

fn bilinear(image: &Image, [x, y]: [f64; 2]) -> Option<[u8; 3]> {
    inside(x, image.width).and(inside(y, image.height))?;
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    // From −0.5 on: casting to usize stops at 0, as the edge pixel repeats.
    let column = |x: f64| (x as usize).min(image.width - 1);
    let row = |y: f64| (y as usize).min(image.height - 1);
    let corner = |x, y| pixel(image, column(x), row(y)).map(f64::from);
    let (a, b) = (corner(left, top), corner(left + 1.0, top));
    let (c, d) = (corner(left, top + 1.0), corner(left + 1.0, top + 1.0));
    Some(std::array::from_fn(|i| {
        let above = a[i] + (b[i] - a[i]) * dx;
        let below = c[i] + (d[i] - c[i]) * dx;
        (above + (below - above) * dy) as u8
    }))
}

/// Whether all four corners stay within what 16 bits before the point can tell: Pillow's `check_fixed`.
fn fits_fixed(image: &Image, m: &Matrix) -> bool {
    let within =
        |x: f64, y: f64| (x * m[0] + y * m[1] + m[2]).abs() < 32768.0 && (x * m[3] + y * m[4] + m[5]).abs() < 32768.0;
    let (width, height) = (image.width as f64, image.height as f64);
    within(0.0, 0.0) && within(width, height) && within(0.0, height) && within(width, 0.0)
}

/// The matrix with 16 bits behind the point, as Pillow's `affine_fixed` has it, so that the same pixels are met.
struct Fixed([i64; 6]);

impl Fixed {
    fn new(m: &Matrix) -> Fixed {
        let fix = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
        Fixed([
            fix(m[0]),
            fix(m[1]),
            fix(m[2] + m[0] * 0.5 + m[1] * 0.5),
            fix(m[3]),
            fix(m[4]),
            fix(m[5] + m[3] * 0.5 + m[4] * 0.5),
        ])
    }

    fn nearest(&self, image: &Image, x: usize, y: usize) -> Option<[u8; 3]> {
        let (m, px, py) = (&self.0, x as i64, y as i64);
        let x = usize::try_from((m[2] + m[0] * px + m[1] * py) >> 16).ok().filter(|&x| x < image.width)?;
        let y = usize::try_from((m[5] + m[3] * px + m[4] * py) >> 16).ok().filter(|&y| y < image.height)?;
        Some(pixel(image, x, y))
    }
}
