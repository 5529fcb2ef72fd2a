//! Photos and what they show.

use crate::archive::Archive;
use crate::{Error, folder, shards, table};
use mobilenet_run::Image;
use mobilenet_run::image::{self, Decoded, Format, MAX_FILE_BYTES};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a photo shows, as indices into [`Dataset::classes`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// One class.
    Class(u32),
    /// Any number of labels, each once, in order.
    Labels(Arc<[u32]>),
}

impl Target {
    /// All labels; a class is a single one.
    pub fn labels(&self) -> &[u32] {
        match self {
            Target::Class(class) => std::slice::from_ref(class),
            Target::Labels(labels) => labels,
        }
    }
}

/// Where a photo's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of its own.
    File(PathBuf),
    /// A part of one of the data set's archives.
    Member {
        /// Which one.
        archive: usize,
        /// Its name there.
        name: String,
        /// First byte, in the archive or in what was unpacked of it.
        offset: u64,
        /// Bytes.
        size: u64,
    },
}

/// A photo with its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where its bytes are.
    pub source: Source,
    /// What it shows.
    pub target: Target,
}

/// A list of photos with their labels; they are read one by one, when asked for.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What was opened, for messages.
    pub(crate) path: PathBuf,
    pub(crate) classes: Vec<String>,
    pub(crate) items: Vec<Item>,
    pub(crate) archives: Arc<[Archive]>,
    pub(crate) ignored: Vec<PathBuf>,
    pub(crate) is_by_number: bool,
    /// Whether the archives are shards, which training reads a part at a time.
    pub(crate) is_sharded: bool,
}

impl Dataset {
    /// Opens the data at `path` to train on: a folder with a folder per class; a CSV and its archive, either of them
    /// given and the other found beside it (`x.csv`, `x.tar`, `x.tar.gz` or `x.tgz`); a CSV among the photos that it
    /// names, or their folder with this one CSV in it; tar shards as WebDataset writes them, their folder or a pattern such
    /// as `train-{000..146}.tar`.
    ///
    /// Classes of a folder are numbered in the order of their names; of a CSV as its column `class` says, or in the
    /// order of names where that column holds names. A CSV with several columns `label`, or whose last column `label` is
    /// followed by further fields or is empty in some line, gives each photo [any number of labels](Target::Labels). In
    /// shards, photos share their names up to the first dot with a `.cls` that holds a number, named in a `classes.txt` or
    /// `classes.json` beside the shards, a `.txt` that holds a name, or a `.json` with `label` or `class`, or with a list
    /// of `labels`.
    ///
    /// # Errors
    /// As [`Error`] lists: among them no photos, a class without photos, one class only, a CSV line that makes no sense.
    pub fn open(path: impl AsRef<Path>) -> Result<Dataset, Error> {
        Dataset::open_with(path.as_ref(), None)?.for_training()
    }

    /// Opens the data at `path` with the class list of training or of a model: classes are found by name, and may lack
    /// photos.
    ///
    /// # Errors
    /// As [`open`](Self::open), less what only training needs; also [`Error::UnknownClass`].
    pub fn open_as(path: impl AsRef<Path>, classes: &[String]) -> Result<Dataset, Error> {
        Dataset::open_with(path.as_ref(), Some(classes))
    }

    /// Opens photos of classes that a network is to learn beside its own: a folder of photos, whose name is the class, or
    /// what [`open`](Self::open) takes, of which one class is enough.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_new(path: impl AsRef<Path>) -> Result<Dataset, Error> {
        let path = path.as_ref();
        match folder::open_class(path)? {
            Some(class) => Ok(class),
            None => Dataset::open_with(path, None)?.with_photos(),
        }
    }

    /// Opens all photos at `path`, whatever they show: those of a folder and the folders in it, or anything else that
    /// [`open`](Self::open) takes. All have the one class `photo`.
    ///
    /// # Errors
    /// As [`open`](Self::open), less what only training needs; no photos.
    pub fn open_photos(path: impl AsRef<Path>) -> Result<Dataset, Error> {
        let path = path.as_ref();
        let kind = std::fs::metadata(path).map_err(Error::io(path))?;
        let mut set = if kind.is_dir() { folder::open_photos(path)? } else { table::open_photos(path)? };
        if set.items.is_empty() {
            return Err(Error::NoPhotos { path: path.to_owned() });
        }
        set.classes = vec!["photo".to_owned()];
        set.items.iter_mut().for_each(|item| item.target = Target::Class(0));
        Ok(set)
    }

    /// Opens a CSV whose archive lies elsewhere or has another name; with a class list as [`open_as`](Self::open_as).
    ///
    /// # Errors
    /// As [`open`](Self::open) or [`open_as`](Self::open_as).
    pub fn open_csv(
        csv: impl AsRef<Path>,
        archive: impl AsRef<Path>,
        classes: Option<&[String]>,
    ) -> Result<Dataset, Error> {
        let set = table::open(csv.as_ref(), Some(archive.as_ref()), classes)?;
        if classes.is_none() { set.for_training() } else { Ok(set) }
    }

    /// As [`open`](Self::open) or [`open_as`](Self::open_as), whatever training may lack.
    pub(crate) fn open_with(path: &Path, classes: Option<&[String]>) -> Result<Dataset, Error> {
        if let Some(files) = shards::expand(path)? {
            return shards::open(path, &files, classes);
        }
        let kind = std::fs::metadata(path).map_err(Error::io(path))?;
        if kind.is_dir() { folder::open(path, classes) } else { table::open_beside(path, classes) }
    }

    /// Checks what training needs.
    pub(crate) fn for_training(self) -> Result<Dataset, Error> {
        let path = || self.path.clone();
        if self.has_labels() {
            return if self.classes.is_empty() { Err(Error::NoLabels { path: path() }) } else { Ok(self) };
        }
        match self.classes.as_slice() {
            [class] => Err(Error::OneClass { path: path(), class: class.clone() }),
            _ => self.with_photos(),
        }
    }

    /// Checks that there are photos of every class.
    fn with_photos(self) -> Result<Dataset, Error> {
        if let Some(empty) = self.photos_by_class().iter().position(|&count| count == 0) {
            return Err(Error::EmptyClass { path: self.path, class: self.classes[empty].clone() });
        }
        if self.items.is_empty() { Err(Error::NoPhotos { path: self.path }) } else { Ok(self) }
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A name for every class.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// All photos.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// How many photos each class has.
    pub fn photos_by_class(&self) -> Vec<usize> {
        let mut photos = vec![0; self.classes.len()];
        for item in &self.items {
            item.target.labels().iter().for_each(|&label| photos[label as usize] += 1);
        }
        photos
    }

    /// The photos at these places alone.
    ///
    /// # Panics
    /// Where there is no such photo.
    pub fn only(&self, places: &[usize]) -> Dataset {
        let items = places.iter().map(|&place| self.items[place].clone()).collect();
        Dataset { items, ignored: Vec::new(), ..self.clone() }
    }

    /// Whether photos may have any number of labels.
    pub fn has_labels(&self) -> bool {
        self.items.iter().any(|item| matches!(item.target, Target::Labels(_)))
    }

    /// How many photos there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Files that are no photos by their names' endings, and files beside the class folders, which have no class.
    pub fn ignored(&self) -> &[PathBuf] {
        &self.ignored
    }

    /// Whether a CSV told classes of a known list by their numbers alone.
    pub fn is_by_number(&self) -> bool {
        self.is_by_number
    }

    /// What messages call a photo: its path, or archive and member.
    ///
    /// # Panics
    /// If there is no such photo.
    pub fn name(&self, index: usize) -> String {
        match &self.items[index].source {
            Source::File(path) => path.display().to_string(),
            Source::Member { archive, name, .. } => format!("{}: {name}", self.archives[*archive].path.display()),
        }
    }

    /// Reads and decodes a photo.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Photo`].
    ///
    /// # Panics
    /// If there is no such photo.
    pub fn read(&self, index: usize) -> Result<Image, Error> {
        Ok(self.decode(index)?.image)
    }

    /// As [`read`](Self::read), with what the file says beside the pixels.
    pub(crate) fn decode(&self, index: usize) -> Result<Decoded, Error> {
        self.decode_bytes(index, &self.bytes(index)?)
    }

    /// Decodes a photo whose bytes were read.
    pub(crate) fn decode_bytes(&self, index: usize, bytes: &[u8]) -> Result<Decoded, Error> {
        Ok(Decoded::from_bytes(bytes, &self.name(index))?)
    }

    /// A photo's bytes as its file has them.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Photo`] of what is no photo by its first bytes.
    pub(crate) fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, Error> {
        match &self.items[index].source {
            Source::Member { archive, offset, size, .. } => {
                let name = self.name(index);
                if *size > MAX_FILE_BYTES {
                    return Err(image::Error::FileSize { name }.into());
                }
                let bytes = self.archives[*archive].bytes(*offset, *size)?;
                Format::of(&bytes, &name)?;
                Ok(bytes)
            }
            Source::File(path) => Ok(Cow::Owned(image::read(path)?)),
        }
    }
}
