//! More photos than a sheet holds: numbered pages.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{ContactSheet, Layout, MAX_CELLS, Thumbnail};
use crate::canvas::Rgb;
use crate::image::{Error, check_writable};

/// Contact sheets that follow each other, each written when it is full: `sheet.png`, `sheet-2.png`, `sheet-3.png` … One
/// page is in memory at a time, however many photos there are.
pub struct Pages {
    path: PathBuf,
    layout: Layout,
    sheet: ContactSheet,
    /// Pages on the disk.
    written: usize,
}

impl Pages {
    /// For pages at `path` and beside it.
    ///
    /// # Errors
    /// As [`check_writable`]: what cannot be written is known before the work.
    pub fn new(path: impl Into<PathBuf>, layout: Layout) -> Result<Pages, Error> {
        let path = path.into();
        check_writable(&path)?;
        Ok(Pages { path, layout, sheet: ContactSheet::with_layout(layout), written: 0 })
    }

    /// Adds a photo; see [`ContactSheet::add`].
    ///
    /// # Errors
    /// As [`ContactSheet::save`], where this photo fills a page.
    pub fn add(&mut self, photo: Thumbnail, caption: &[impl AsRef<str>], frame: Option<Rgb>) -> Result<(), Error> {
        self.sheet.add_thumbnail(photo, caption, frame);
        if self.sheet.is_full() { self.write() } else { Ok(()) }
    }

    /// Writes the last page, and gives the paths of all. Without a photo there is none.
    ///
    /// # Errors
    /// As [`ContactSheet::save`].
    pub fn finish(mut self) -> Result<Vec<PathBuf>, Error> {
        if !self.sheet.is_empty() {
            self.write()?;
        }
        Ok((1..=self.written).map(|number| page(&self.path, number)).collect())
    }

    fn write(&mut self) -> Result<(), Error> {
        self.sheet.save(page(&self.path, self.written + 1))?;
        self.written += 1;
        self.sheet = ContactSheet::with_layout(self.layout);
        Ok(())
    }
}

/// The paths of the pages that so many photos fill.
pub fn pages(path: &Path, photos: usize) -> impl Iterator<Item = PathBuf> {
    (1..=photos.div_ceil(MAX_CELLS)).map(|number| page(path, number))
}

/// The path of a page, counted from 1: the first has the name that was asked for.
fn page(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!("-{number}."));
    name.push(path.extension().unwrap_or_default());
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;

    #[test]
    fn pages_are_numbered_and_hold_all_photos() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { columns: 20, cell: [4, 4] };
        let mut pages = Pages::new(folder.path().join("a.b.png"), layout).unwrap();
        let photo = Image::from_rgb(4, 4, vec![7; 48]).unwrap();
        for _ in 0..2 * MAX_CELLS + 1 {
            pages.add(layout.thumbnail(&photo), &[""], None).unwrap();
        }
        // Full pages are there before the end.
        assert!(folder.path().join("a.b-2.png").exists() && !folder.path().join("a.b-3.png").exists());
        let written = pages.finish().unwrap();
        let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.b.png", "a.b-2.png", "a.b-3.png"]);
        let heights: Vec<usize> = written.iter().map(|path| Image::open(path).unwrap().height).collect();
        assert!(heights[0] == heights[1] && heights[2] < heights[0], "{heights:?}");
    }

    #[test]
    fn without_a_photo_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        assert_eq!(Pages::new(&path, Layout::default()).unwrap().finish().unwrap(), Vec::<PathBuf>::new());
        assert!(!path.exists());
    }
}
