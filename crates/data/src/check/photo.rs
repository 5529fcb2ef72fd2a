//! What is seen of a single photo.

use std::path::Path;

use mobilenet_net::hash::Hash;
use mobilenet_net::preprocessing::Filter;
use mobilenet_run::image::{self, Decoded, Format};
use mobilenet_run::resize::resize;

use super::Photos;
use super::fault::{Fault, Kind};
use crate::dataset::Dataset;
use crate::error::Error;
use crate::folder::is_photo_file;

/// Height and width of the small copies that photos are compared by.
pub(super) const SMALL: usize = 16;

/// The shorter side, in pixels, below which no network sees much.
const FEWEST_PIXELS: usize = 16;
/// How many times shorter than the median of the others a photo's shorter side may be.
const SHORTEST: usize = 4;

/// A photo, as far as it can be read.
pub(crate) enum Seen {
    Photo(Facts),
    /// A file of zero bytes.
    Empty,
    /// Why it cannot be read.
    Broken(String),
}

/// What is kept of a photo.
pub(crate) struct Facts {
    pub format: Format,
    /// Whether EXIF data says that it lies on its side or stands on its head.
    pub is_turned: bool,
    /// Pixels in a row, rows.
    pub size: [usize; 2],
    /// Of all its pixels.
    pub hash: u64,
    /// Red, green, blue of [`SMALL`]×[`SMALL`] pixels.
    pub small: Box<[u8]>,
}

impl Facts {
    pub fn short_side(&self) -> usize {
        self.size[0].min(self.size[1])
    }
}

impl Seen {
    /// Reads and decodes a photo.
    pub fn of(dataset: &Dataset, index: usize) -> Seen {
        Seen::of_decoded(dataset.decode(index))
    }

    /// What came of decoding a photo.
    pub fn of_decoded(decoded: Result<Decoded, Error>) -> Seen {
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(Error::Photo(image::Error::Empty { .. })) => return Seen::Empty,
            Err(error) => return Seen::Broken(error.to_string()),
        };
        let Decoded { image, format, is_turned } = decoded;
        let mut hash = Hash::default();
        [image.width, image.height].iter().for_each(|&side| hash.word(side as u64));
        hash.bytes(&image.rgb);
        let small = resize(&image, [SMALL; 2], Filter::Bilinear).rgb.into();
        Seen::Photo(Facts { format, is_turned, size: [image.width, image.height], hash: hash.get(), small })
    }

    pub fn ok(&self) -> Option<&Facts> {
        match self {
            Seen::Photo(facts) => Some(facts),
            _ => None,
        }
    }
}

/// What is wrong with single photos, and with files that are taken for none.
/// `median` is that of the shorter sides.
pub(super) fn faults(photos: &Photos, seen: &[Seen], median: usize, faults: &mut Vec<Fault>) {
    let mut sideways = Vec::new();
    for (number, seen) in seen.iter().enumerate() {
        let name = photos.name(number);
        let mut fault = |kind, what| faults.push(Fault { kind, photos: vec![name.clone()], what });
        let facts = match seen {
            Seen::Empty => {
                fault(Kind::EmptyFile, "the file is empty".into());
                continue;
            }
            Seen::Broken(reason) => {
                fault(Kind::Broken, reason.strip_prefix(&format!("{name}: ")).unwrap_or(reason).to_owned());
                continue;
            }
            Seen::Photo(facts) => facts,
        };
        if !endings(facts.format).iter().any(|ending| has_ending(&name, ending)) {
            fault(Kind::WrongEnding, format!("the content is {}, and the name says otherwise", facts.format));
        }
        let [width, height] = facts.size;
        if facts.short_side() < FEWEST_PIXELS {
            fault(Kind::Tiny, format!("{width}×{height} pixels"));
        } else if facts.short_side() * SHORTEST < median {
            fault(
                Kind::Tiny,
                format!("{width}×{height} pixels, where half of the photos have {median} and more a side"),
            );
        }
        if facts.is_turned {
            sideways.push(name);
        }
    }
    if !sideways.is_empty() {
        let what = format!("EXIF data says of {} photos that they lie on their side or upside down", sideways.len());
        faults.push(Fault { kind: Kind::Sideways, photos: sideways, what });
    }
    let parts = [Some(&photos.splits.train), photos.splits.validation.as_ref()];
    ignored(parts.into_iter().flatten(), faults);
}

/// Photos among the files that are taken for none, and the rest of those.
fn ignored<'a>(parts: impl Iterator<Item = &'a Dataset>, faults: &mut Vec<Fault>) {
    let mut others = Vec::new();
    for path in parts.flat_map(Dataset::ignored) {
        let name = path.display().to_string();
        match Format::of_file(path) {
            Ok(_) if is_photo_file(path) => {
                let what = "a photo beside the class folders, which has no class".into();
                faults.push(Fault { kind: Kind::LoosePhoto, photos: vec![name], what });
            }
            Ok(format) => {
                let what = format!("its content is a {format} photo; .{} is the ending", endings(format)[0]);
                faults.push(Fault { kind: Kind::HiddenPhoto, photos: vec![name], what });
            }
            Err(_) => others.push(name),
        }
    }
    if !others.is_empty() {
        let what = format!("{} files are no photos, and are passed over", others.len());
        faults.push(Fault { kind: Kind::Ignored, photos: others, what });
    }
}

/// Endings of a format's files, the usual one first.
fn endings(format: Format) -> &'static [&'static str] {
    match format {
        Format::Jpeg => &["jpg", "jpeg", "jpe", "jfif"],
        Format::Png => &["png"],
        Format::WebP => &["webp"],
        Format::Bmp => &["bmp"],
        Format::Gif => &["gif"],
    }
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}
