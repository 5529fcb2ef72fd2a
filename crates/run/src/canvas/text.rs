//! Lines of text by `ab_glyph`, in DejaVu Sans: Latin with its extensions, Greek and Cyrillic.
//!
//! Letters stand one beside the other as they come; scripts that need more than that are not shaped.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

/// Bitstream Vera's licence, which lies beside it. Made by `scripts/font`.
static FONT: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(include_bytes!("DejaVuSans.ttf")).expect("the font is one"));

const ELLIPSIS: char = '…';

/// Characters that can be drawn: a line break or another control character becomes a space.
fn drawn(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|c| if c.is_control() { ' ' } else { c })
}

fn advance(c: char, size: usize) -> f32 {
    let font = FONT.as_scaled(PxScale::from(size as f32));
    font.h_advance(font.glyph_id(c))
}

/// The width of a line in pixels.
pub(super) fn width(text: &str, size: usize) -> f32 {
    drawn(text).map(|c| advance(c, size)).sum()
}

/// The line, or as much of its beginning as fits `width` pixels with an ellipsis after it.
pub(super) fn fitted(text: &str, size: usize, width: f32) -> String {
    let (mut end, mut room) = (String::new(), 0.0);
    let mut line = String::new();
    let mut used = 0.0;
    for c in drawn(text) {
        if used + advance(ELLIPSIS, size) <= width {
            (end, room) = (line.clone(), used);
        }
        used += advance(c, size);
        if used > width {
            let fits = room + advance(ELLIPSIS, size) <= width;
            return if fits { format!("{}{ELLIPSIS}", end.trim_end()) } else { String::new() };
        }
        line.push(c);
    }
    line
}

/// Calls `ink` with x, y and cover (0 to 1) of each pixel that the line touches, from its top left corner.
pub(super) fn draw(text: &str, size: usize, mut ink: impl FnMut(i64, i64, f32)) {
    let font = FONT.as_scaled(PxScale::from(size as f32));
    let mut x = 0.0;
    for c in drawn(text) {
        let glyph = font.glyph_id(c).with_scale_and_position(font.scale(), point(x, font.ascent()));
        x += font.h_advance(glyph.id);
        // A space has none.
        if let Some(outline) = FONT.outline_glyph(glyph) {
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, cover| {
                ink(corner.x as i64 + i64::from(dx), corner.y as i64 + i64::from(dy), cover.clamp(0.0, 1.0));
            });
        }
    }
}
