//! A region of interest: a part of every photo.

use std::fmt;
use std::str::FromStr;

use mobilenet::Image;
use mobilenet::data::crop::cut;
use mobilenet::run::resize::Window;

/// Left edge, top edge, width, height of a part of an upright photo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Region {
    /// In pixels.
    Pixels([usize; 4]),
    /// In fractions of the photo's width and height.
    Fractions([f64; 4]),
}

impl FromStr for Region {
    type Err = String;

    /// Four numbers of which none is above 1 are fractions: a region of one pixel in a corner is of no use.
    fn from_str(text: &str) -> Result<Region, String> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        let Some([x, y, w, h]) = numbers.as_deref().and_then(|numbers| <[f64; 4]>::try_from(numbers).ok()) else {
            return Err("give X,Y,WIDTH,HEIGHT: four numbers with commas between".into());
        };
        let numbers = [x, y, w, h];
        if !numbers.iter().all(|number| (0.0..=1e9).contains(number)) || w == 0.0 || h == 0.0 {
            return Err("give edges from 0 on, and a width and height above 0".into());
        }
        if numbers.iter().all(|&number| number <= 1.0) {
            // Sums of decimal fractions may come out a last digit above 1.
            let fits = x + w <= 1.0 + 1e-9 && y + h <= 1.0 + 1e-9;
            return if fits {
                Ok(Region::Fractions(numbers))
            } else {
                Err("the region reaches beyond the photo".into())
            };
        }
        if numbers.iter().any(|number| number.fract() != 0.0) {
            return Err("give whole pixels, or fractions up to 1".into());
        }
        Ok(Region::Pixels(numbers.map(|number| number as usize)))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Region::Pixels([x, y, w, h]) => write!(f, "{x},{y},{w},{h}"),
            Region::Fractions([x, y, w, h]) => write!(f, "{x},{y},{w},{h}"),
        }
    }
}

impl Region {
    /// This part of a photo, or why it has none.
    pub fn of(self, photo: &Image) -> Result<Image, String> {
        let [left, top, width, height] = match self {
            Region::Pixels(pixels) => pixels,
            Region::Fractions([x, y, w, h]) => {
                let span = |start: f64, length: f64, all: usize| {
                    let edge = |at: f64| ((at * all as f64).round() as usize).min(all);
                    (edge(start), edge(start + length) - edge(start))
                };
                let ((left, width), (top, height)) = (span(x, w, photo.width), span(y, h, photo.height));
                [left, top, width, height]
            }
        };
        let refused = |why| format!("the region {self} {why}, which is {}×{} pixels", photo.width, photo.height);
        if width == 0 || height == 0 {
            return Err(refused("holds no pixel of the photo"));
        }
        if left + width > photo.width || top + height > photo.height {
            return Err(refused("reaches beyond the photo"));
        }
        Ok(cut(photo, Window { top, left, height, width }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo() -> Image {
        // Red tells the column, green the row.
        let rgb = (0..40u8).flat_map(|y| (0..50u8).flat_map(move |x| [x, y, 0])).collect();
        Image::from_rgb(50, 40, rgb).unwrap()
    }

    fn corners(region: &str) -> [u8; 4] {
        let part = region.parse::<Region>().unwrap().of(&photo()).unwrap();
        let last = part.rgb.len() - 3;
        [part.rgb[0], part.rgb[1], part.rgb[last], part.rgb[last + 1]]
    }

    #[test]
    fn pixels_and_fractions_name_the_same_part() {
        assert_eq!(corners("10,20,25,4"), [10, 20, 34, 23]);
        assert_eq!(corners("0.2, 0.5, 0.5, 0.1"), [10, 20, 34, 23]);
        assert_eq!(corners("0,0,1,1"), [0, 0, 49, 39]);
        assert_eq!(corners("0.7,0,0.3,1"), [35, 0, 49, 39]);
        assert_eq!(corners("0,0,2,1"), [0, 0, 1, 0]);
    }

    #[test]
    fn a_part_that_is_not_there_is_refused() {
        let error = |region: &str| region.parse::<Region>().unwrap().of(&photo()).unwrap_err();
        assert_eq!(error("40,0,11,40"), "the region 40,0,11,40 reaches beyond the photo, which is 50×40 pixels");
        assert_eq!(error("0,1e9,9,9"), "the region 0,1000000000,9,9 reaches beyond the photo, which is 50×40 pixels");
        assert_eq!(
            error("0.5,0.5,0.001,1e-3"),
            "the region 0.5,0.5,0.001,0.001 holds no pixel of the photo, which is 50×40 pixels"
        );
    }

    #[test]
    fn what_is_no_region_is_refused() {
        for text in [
            "",
            "1,2,3",
            "1,2,3,4,5",
            "a,b,c,d",
            "0.5,0,0.6,1",
            "-1,0,9,9",
            "0,0,0,9",
            "0,0,9,0",
            "1.5,0,9,9",
            "0,0,nan,1",
            "0,0,inf,9",
        ] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }
}
