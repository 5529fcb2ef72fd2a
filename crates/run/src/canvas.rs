//! Pictures to draw on: areas, frames, photos and captions, in 8-bit RGB.

mod text;

use crate::image::{Error, Image, check_size};
use crate::resize::Window;

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// A picture to draw on. What reaches beyond its edges is cut off.
///
/// # Examples
/// ```no_run
/// use mobilenet_run::canvas::Canvas;
/// use mobilenet_run::Image;
///
/// let mut canvas = Canvas::from(Image::open("photo.jpg")?);
/// canvas.text("an owl", 8, 8, 24, [255, 255, 255]);
/// canvas.image().save("captioned.png")?;
/// # Ok::<(), mobilenet_run::image::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Canvas {
    image: Image,
}

impl From<Image> for Canvas {
    fn from(image: Image) -> Canvas {
        Canvas { image }
    }
}

impl Canvas {
    /// A picture of one color.
    ///
    /// # Errors
    /// [`Error::Zero`] without pixels; [`Error::TooLarge`] with more than a photo may have.
    pub fn new(width: usize, height: usize, color: Rgb) -> Result<Canvas, Error> {
        let side = |pixels| u32::try_from(pixels).unwrap_or(u32::MAX);
        check_size(side(width), side(height), "picture")?;
        Ok(Canvas { image: Image { width, height, rgb: color.repeat(width * height) } })
    }

    /// What was drawn.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What was drawn, for its own sake.
    pub fn into_image(self) -> Image {
        self.image
    }

    /// Fills an area.
    pub fn fill(&mut self, area: Window, color: Rgb) {
        let right = area.left.saturating_add(area.width).min(self.image.width);
        let bottom = area.top.saturating_add(area.height).min(self.image.height);
        for row in area.top..bottom {
            let start = row * self.image.width;
            if let Some(pixels) = self.image.rgb.get_mut((start + area.left) * 3..(start + right) * 3) {
                pixels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&color));
            }
        }
    }

    /// Draws a frame of `thickness` pixels along the inside of an area's edges.
    pub fn frame(&mut self, area: Window, thickness: usize, color: Rgb) {
        let Window { top, left, height, width } = area;
        let (rows, columns) = (thickness.min(height), thickness.min(width));
        self.fill(Window { height: rows, ..area }, color);
        self.fill(Window { top: top + height - rows, height: rows, ..area }, color);
        self.fill(Window { width: columns, ..area }, color);
        self.fill(Window { left: left + width - columns, width: columns, ..area }, color);
    }

    /// Lays a photo over the picture, its corner at `top` and `left`.
    pub fn paste(&mut self, photo: &Image, top: usize, left: usize) {
        let columns = photo.width.min(self.image.width.saturating_sub(left));
        let rows = photo.height.min(self.image.height.saturating_sub(top));
        for row in 0..rows {
            let (from, to) = (row * photo.width * 3, ((top + row) * self.image.width + left) * 3);
            self.image.rgb[to..to + columns * 3].copy_from_slice(&photo.rgb[from..from + columns * 3]);
        }
    }

    /// Writes a line of text, its top left corner at `top` and `left`, `size` pixels high from the top of its letters to
    /// the bottom. A character that the font lacks becomes a box.
    pub fn text(&mut self, text: &str, top: usize, left: usize, size: usize, color: Rgb) {
        let Image { width, height, rgb } = &mut self.image;
        text::draw(text, size, |x, y, cover| {
            let (x, y) = (left as i64 + x, top as i64 + y);
            if (0..*width as i64).contains(&x) && (0..*height as i64).contains(&y) {
                let at = (y as usize * *width + x as usize) * 3;
                for (under, over) in rgb[at..at + 3].iter_mut().zip(color) {
                    *under = (f32::from(*under) + (f32::from(over) - f32::from(*under)) * cover).round() as u8;
                }
            }
        });
    }
}

/// Pixels in a row that [`Canvas::text`] takes.
pub fn text_width(text: &str, size: usize) -> usize {
    text::width(text, size).ceil() as usize
}

/// `text`, or its beginning with an ellipsis where it is wider than `width` pixels.
pub fn fitted(text: &str, size: usize, width: usize) -> String {
    text::fitted(text, size, width as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Rgb = [255; 3];
    const RED: Rgb = [255, 0, 0];

    fn count(canvas: &Canvas, is: impl Fn(&[u8]) -> bool) -> usize {
        canvas.image().rgb.chunks(3).filter(|pixel| is(pixel)).count()
    }

    #[test]
    fn areas_and_frames_are_cut_at_the_edges() {
        let mut canvas = Canvas::new(10, 6, WHITE).unwrap();
        canvas.fill(Window { top: 4, left: 7, height: 9, width: usize::MAX }, RED);
        assert_eq!(count(&canvas, |p| p == RED), 2 * 3);
        canvas.fill(Window { top: 0, left: 20, height: 1, width: 1 }, RED);
        canvas.fill(Window { top: 90, left: 0, height: 1, width: 1 }, RED);
        assert_eq!(count(&canvas, |p| p == RED), 2 * 3);
        let mut canvas = Canvas::new(10, 6, WHITE).unwrap();
        canvas.frame(Window { top: 1, left: 1, height: 4, width: 5 }, 1, RED);
        assert_eq!(count(&canvas, |p| p == RED), 4 * 5 - 2 * 3);
        canvas.frame(Window { top: 1, left: 1, height: 4, width: 5 }, 99, RED);
        assert_eq!(count(&canvas, |p| p == RED), 4 * 5);
    }

    #[test]
    fn a_photo_over_the_edge_is_cut() {
        let mut canvas = Canvas::new(4, 4, WHITE).unwrap();
        let photo = Canvas::new(3, 3, RED).unwrap().into_image();
        canvas.paste(&photo, 2, 3);
        assert_eq!(count(&canvas, |p| p == RED), 2);
        canvas.paste(&photo, 9, 9);
        assert_eq!(count(&canvas, |p| p == RED), 2);
    }

    #[test]
    fn text_lies_in_the_box_that_its_size_and_width_say() {
        let (size, text) = (20, "Füße: Ωμέγα, жук");
        let width = text_width(text, size);
        let mut canvas = Canvas::new(width + 40, size + 40, WHITE).unwrap();
        canvas.text(text, 20, 20, size, RED);
        let inked: Vec<(usize, usize)> = (0..canvas.image().height)
            .flat_map(|y| (0..canvas.image().width).map(move |x| (x, y)))
            .filter(|(x, y)| canvas.image().rgb[(y * canvas.image().width + x) * 3 + 1] < 128)
            .collect();
        assert!(inked.len() > 200, "{} pixels of ink", inked.len());
        // Letters may lean out of their box by a pixel.
        assert!(inked.iter().all(|(x, y)| (19..width + 21).contains(x) && (20..size + 20).contains(y)));
    }

    #[test]
    fn text_over_the_edge_is_cut() {
        let mut canvas = Canvas::new(12, 10, WHITE).unwrap();
        canvas.text("Much too long", 0, 4, 16, RED);
        canvas.text("far away", 400, 400, 16, RED);
        assert!(count(&canvas, |p| p != WHITE) > 0);
    }

    #[test]
    fn a_picture_without_pixels_or_with_too_many_is_refused() {
        assert!(matches!(Canvas::new(0, 4, WHITE), Err(Error::Zero { .. })));
        assert!(matches!(Canvas::new(60_000, 60_000, WHITE), Err(Error::TooLarge { .. })));
        assert!(matches!(Canvas::new(usize::MAX, 1, WHITE), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn long_captions_end_with_an_ellipsis_within_their_width() {
        assert_eq!(fitted("short", 16, 200), "short");
        for width in [0, 3, 30, 60, 100] {
            let cut = fitted("Welsh springer spaniel", 16, width);
            assert!(text_width(&cut, 16) <= width, "{cut} in {width}");
            assert!(cut.is_empty() || cut.ends_with('…'), "{cut}");
        }
        assert_eq!(fitted("two\nlines\tand more", 16, 999), "two lines and more");
    }
}
