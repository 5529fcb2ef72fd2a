//! Contact sheets: many photos in one picture, small, with captions.

mod pages;

use std::path::Path;

pub use pages::{Pages, pages};

use crate::canvas::{Canvas, Rgb, fitted};
use crate::image::{Error, Image};
use crate::resize::{Window, resize};
use mobilenet_net::preprocessing::Filter;

/// Most photos on a sheet: its memory stays within some 30 MB at the usual cells, and viewers open it at once.
pub const MAX_CELLS: usize = 200;

/// Most pixels along a side of a photo on a sheet.
pub const MAX_CELL: usize = 512;

const PAPER: Rgb = [255; 3];
const INK: Rgb = [32; 3];
/// Around photos that have no frame of their own, so that white ones end somewhere.
const EDGE: Rgb = [208; 3];
/// Pixels between cells, and around all.
const GAP: usize = 8;
/// Pixels of a coloured frame.
const FRAME: usize = 4;
/// Pixels of a line of a caption, and of its letters.
const LINE: usize = 17;
const LETTERS: usize = 15;

/// What a sheet looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Photos in a row.
    pub columns: usize,
    /// Height and width in pixels that a photo is brought into, its proportions kept.
    pub cell: [usize; 2],
}

impl Default for Layout {
    /// Eight photos of 160 pixels in a row.
    fn default() -> Layout {
        Layout { columns: 8, cell: [160, 160] }
    }
}

/// A photo as a sheet shows it: small, so that many can wait for their page.
#[derive(Clone, Debug)]
pub struct Thumbnail(Image);

impl Thumbnail {
    /// The small photo.
    pub fn image(&self) -> &Image {
        &self.0
    }
}

/// Up to [`MAX_CELLS`] photos in one picture.
///
/// # Examples
/// ```no_run
/// use mobilenet_run::{ContactSheet, Image};
///
/// let mut sheet = ContactSheet::new(8, [160, 160]);
/// sheet.add(&Image::open("owl.jpg")?, &["owl.jpg", "great grey owl  93.1 %"], Some([0, 160, 0]));
/// sheet.save("sheet.png")?;
/// # Ok::<(), mobilenet_run::image::Error>(())
/// ```
pub struct ContactSheet {
    layout: Layout,
    cells: Vec<Cell>,
}

struct Cell {
    photo: Thumbnail,
    caption: Vec<String>,
    frame: Option<Rgb>,
}

impl Layout {
    /// Both numbers brought between 1 and what a sheet can hold.
    fn bounded(self) -> Layout {
        let [height, width] = self.cell;
        Layout {
            columns: self.columns.clamp(1, MAX_CELLS / 4),
            cell: [height.clamp(1, MAX_CELL), width.clamp(1, MAX_CELL)],
        }
    }

    /// The photo, brought into a cell.
    pub fn thumbnail(self, photo: &Image) -> Thumbnail {
        let [height, width] = self.bounded().cell;
        let scale = (height as f64 / photo.height as f64).min(width as f64 / photo.width as f64);
        let side = |pixels: usize, most: usize| ((pixels as f64 * scale).round() as usize).clamp(1, most);
        Thumbnail(resize(photo, [side(photo.height, height), side(photo.width, width)], Filter::Bilinear))
    }
}

impl ContactSheet {
    /// An empty sheet of `columns` photos in a row (at most 50), each brought into `cell`, height and width in pixels (at
    /// most [`MAX_CELL`]).
    pub fn new(columns: usize, cell: [usize; 2]) -> ContactSheet {
        ContactSheet::with_layout(Layout { columns, cell })
    }

    /// An empty sheet.
    pub fn with_layout(layout: Layout) -> ContactSheet {
        ContactSheet { layout: layout.bounded(), cells: Vec::new() }
    }

    /// How many photos are on it.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no photo is on it yet.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Whether there are [`MAX_CELLS`] photos on it: [`Pages`] begins another then.
    pub fn is_full(&self) -> bool {
        self.len() >= MAX_CELLS
    }

    /// Adds a photo with a caption below it, and a frame in a colour where one is given. Lines are cut with an ellipsis
    /// at the cell's width. A full sheet stays as it is: `false`.
    pub fn add(&mut self, photo: &Image, caption: &[impl AsRef<str>], frame: Option<Rgb>) -> bool {
        self.add_thumbnail(self.layout.thumbnail(photo), caption, frame)
    }

    /// As [`add`](Self::add), where the photo was [made small](Layout::thumbnail) elsewhere.
    pub fn add_thumbnail(&mut self, photo: Thumbnail, caption: &[impl AsRef<str>], frame: Option<Rgb>) -> bool {
        if self.is_full() {
            return false;
        }
        let width = self.layout.cell[1];
        let caption = caption.iter().map(|line| fitted(line.as_ref(), LETTERS, width)).collect();
        self.cells.push(Cell { photo, caption, frame });
        true
    }

    /// The sheet as a picture. Its rows are as high as their longest caption needs.
    ///
    /// # Errors
    /// [`Error::Zero`] without a photo; [`Error::TooLarge`] where cells are so large that there are too many pixels.
    pub fn draw(&self) -> Result<Canvas, Error> {
        let [height, width] = self.layout.cell;
        let columns = self.layout.columns.min(self.len());
        let lines = |cells: &[Cell]| cells.iter().map(|cell| cell.caption.len()).max().unwrap_or(0);
        let row_height = |cells: &[Cell]| height + lines(cells) * LINE + GAP;
        let rows = || self.cells.chunks(columns.max(1));
        let side = |pixels: usize| if self.is_empty() { 0 } else { pixels + GAP };
        let (wide, high) = (side(columns * (width + GAP)), side(rows().map(row_height).sum()));
        let mut canvas = Canvas::new(wide, high, PAPER)?;
        let mut top = GAP;
        for row in rows() {
            for (column, cell) in row.iter().enumerate() {
                cell.draw(&mut canvas, Window { top, left: GAP + column * (width + GAP), height, width });
            }
            top += row_height(row);
        }
        Ok(canvas)
    }

    /// Draws the sheet into a file: PNG, JPEG or WebP by the ending of `path`; whole or not at all.
    ///
    /// # Errors
    /// As [`draw`](Self::draw) and [`Image::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.draw()?.image().save(path)
    }
}

impl Cell {
    /// Draws the photo in the middle of an area, and its caption below.
    fn draw(&self, canvas: &mut Canvas, area: Window) {
        let Thumbnail(photo) = &self.photo;
        let (top, left) = (area.top + (area.height - photo.height) / 2, area.left + (area.width - photo.width) / 2);
        canvas.paste(photo, top, left);
        let edges = Window { top, left, height: photo.height, width: photo.width };
        match self.frame {
            Some(color) => canvas.frame(edges, FRAME, color),
            None => canvas.frame(edges, 1, EDGE),
        }
        for (line, text) in self.caption.iter().enumerate() {
            canvas.text(text, area.top + area.height + 2 + line * LINE, area.left, LETTERS, INK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(width: usize, height: usize) -> Image {
        Canvas::new(width, height, [0, 0, 200]).unwrap().into_image()
    }

    #[test]
    fn photos_keep_their_proportions_and_fill_their_cell() {
        let layout = Layout { columns: 3, cell: [60, 80] };
        for (photo, sides) in [
            (photo(160, 120), (80, 60)),
            (photo(1000, 100), (80, 8)),
            (photo(10, 100), (6, 60)),
            (photo(4, 3), (80, 60)),
            (photo(60_000, 1), (80, 1)),
            (photo(1, 60_000), (1, 60)),
        ] {
            let Thumbnail(small) = layout.thumbnail(&photo);
            assert_eq!((small.width, small.height), sides);
            assert!(small.rgb.chunks(3).all(|pixel| pixel == [0, 0, 200]));
        }
    }

    #[test]
    fn a_sheet_is_as_large_as_its_photos_and_captions() {
        let mut sheet = ContactSheet::new(3, [60, 80]);
        let none: [&str; 0] = [];
        assert!(sheet.add(&photo(20, 20), &none, None));
        let size = |sheet: &ContactSheet| {
            let canvas = sheet.draw().unwrap();
            (canvas.image().width, canvas.image().height)
        };
        assert_eq!(size(&sheet), (80 + 2 * GAP, 60 + 2 * GAP));
        for _ in 0..3 {
            sheet.add(&photo(20, 20), &["name", "class"], Some([255, 0, 0]));
        }
        assert_eq!(size(&sheet), (3 * 80 + 4 * GAP, 2 * (60 + 2 * LINE) + 3 * GAP));
    }

    #[test]
    fn a_frame_has_its_color_and_lies_on_the_photo() {
        let mut sheet = ContactSheet::new(1, [40, 40]);
        sheet.add(&photo(40, 40), &["é"], Some([255, 0, 0]));
        let canvas = sheet.draw().unwrap();
        let red = canvas.image().rgb.chunks(3).filter(|pixel| pixel == &[255, 0, 0]).count();
        assert_eq!(red, 40 * 40 - (40 - 2 * FRAME).pow(2));
    }

    #[test]
    fn a_full_sheet_takes_no_more() {
        let mut sheet = ContactSheet::new(20, [4, 4]);
        for _ in 0..MAX_CELLS {
            assert!(sheet.add(&photo(4, 4), &["x"], None));
        }
        assert!(sheet.is_full() && !sheet.add(&photo(4, 4), &["x"], None));
        assert_eq!(sheet.len(), MAX_CELLS);
    }

    #[test]
    fn sizes_out_of_range_are_brought_into_it() {
        let mut sheet = ContactSheet::new(0, [0, 1 << 40]);
        sheet.add(&photo(9, 9), &["x"], None);
        assert_eq!(sheet.draw().unwrap().image().width, MAX_CELL + 2 * GAP);
    }

    #[test]
    fn an_empty_sheet_is_no_picture() {
        assert!(matches!(ContactSheet::new(3, [60, 80]).draw(), Err(Error::Zero { .. })));
    }
}
