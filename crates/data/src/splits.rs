//! Training and validation photos, found by their folders' or shards' names.

use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::error::Error;
use crate::{folder, shards, table};

/// Training and validation photos with one class list.
#[derive(Debug)]
pub struct Splits {
    /// To learn from.
    pub train: Dataset,
    /// To check with, where the folder has some.
    pub validation: Option<Dataset>,
}

/// Names of the training photos' folder, where there is a split, in any case of letters.
pub(crate) const TRAIN: [&str; 2] = ["train", "training"];
/// Names of the validation photos' folder.
pub(crate) const VALIDATION: [&str; 3] = ["val", "valid", "validation"];
/// Names that only count where none of the others is there: these photos may be meant for later.
pub(crate) const TEST: [&str; 2] = ["test", "testing"];

/// Where a part of the photos lies.
enum Place {
    /// All that [`Dataset::open`] takes.
    Path(PathBuf),
    /// Some of a folder's shards.
    Shards(PathBuf, Vec<PathBuf>),
}

impl Place {
    fn open(&self, known: Option<&[String]>) -> Result<Dataset, Error> {
        match self {
            Place::Path(path) => Dataset::open_with(path, known),
            Place::Shards(folder, files) => shards::open(folder, files, known),
        }
    }
}

impl Splits {
    /// Opens a folder with `train` and, if there, `val`, `valid`, `validation` or `test` (in any case of letters; also
    /// `training` and `testing`), each a folder per class or shards; shards with such words in their names; or anything
    /// else that [`Dataset::open`] takes, as training photos alone.
    ///
    /// The validation photos are numbered by the training photos' class list.
    ///
    /// # Errors
    /// As [`Dataset::open`] and [`Dataset::open_as`]; two folders of training or of validation photos.
    pub fn open(path: impl AsRef<Path>) -> Result<Splits, Error> {
        Splits::open_with(path.as_ref(), None, Dataset::for_training)
    }

    /// As [`open`](Self::open), whatever training may lack, with the validation photos of another place where given.
    pub(crate) fn open_as_found(path: &Path, elsewhere: Option<&Path>) -> Result<Splits, Error> {
        Splits::open_with(path, elsewhere, Ok)
    }

    fn open_with(
        path: &Path,
        elsewhere: Option<&Path>,
        check: impl Fn(Dataset) -> Result<Dataset, Error>,
    ) -> Result<Splits, Error> {
        let (train, beside) = parts(path)?;
        let train = check(train.open(None)?)?;
        let validation = match elsewhere {
            Some(elsewhere) => Some(Splits::open_validation_as(elsewhere, train.classes())?),
            None => beside.map(|place| place.open(Some(train.classes()))).transpose()?,
        };
        Ok(Splits { train, validation })
    }

    /// The validation photos of what [`open`](Self::open) takes, or all photos where it has no split, by the class list of
    /// a model; see [`Dataset::open_as`].
    ///
    /// # Errors
    /// As [`Dataset::open_as`]; two folders of validation photos.
    pub fn open_validation_as(path: impl AsRef<Path>, classes: &[String]) -> Result<Dataset, Error> {
        let path = path.as_ref();
        let (_, validation) = parts(path)?;
        validation.unwrap_or_else(|| Place::Path(path.to_owned())).open(Some(classes))
    }
}

/// Where the training photos are, and the validation photos where there is a split.
fn parts(path: &Path) -> Result<(Place, Option<Place>), Error> {
    if let Some(train) = training(path)? {
        return Ok((Place::Path(train), validation(path)?.map(Place::Path)));
    }
    let entries = folder::entries(path).unwrap_or_default();
    if entries.iter().any(|entry| entry.is_dir() || table::names_labels(entry)) {
        return Ok((Place::Path(path.to_owned()), None));
    }
    let of = |files| Place::Shards(path.to_owned(), files);
    Ok(match shards::parts(path, &entries)? {
        Some((train, validation)) => (of(train), validation.map(of)),
        None => (Place::Path(path.to_owned()), None),
    })
}

/// The folders in `path` of these names, in any case of letters, in alphabetical order.
fn folders(path: &Path, names: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| names.iter().any(|known| name.eq_ignore_ascii_case(known))) && path.is_dir()
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_one).collect();
    found.sort();
    found
}

/// The folder of training photos, where there is a split: one that holds photos alone is a class of that name.
fn training(path: &Path) -> Result<Option<PathBuf>, Error> {
    let mut found = folders(path, &TRAIN);
    found.retain(|path| folder::is_set(path));
    only(path, found, "training")
}

/// The folder of validation photos beside the training photos'.
fn validation(path: &Path) -> Result<Option<PathBuf>, Error> {
    let found = only(path, folders(path, &VALIDATION), "validation")?;
    Ok(found.or_else(|| folders(path, &TEST).into_iter().next()))
}

/// The folder that was found in `path`, of which there must not be two.
fn only(path: &Path, found: Vec<PathBuf>, what: &'static str) -> Result<Option<PathBuf>, Error> {
    if let [first, second, ..] = &found[..] {
        let [first, second] = [first, second].map(|path| path.file_name().unwrap_or_default().display().to_string());
        return Err(Error::TwoFolders { path: path.to_owned(), what, first, second });
    }
    Ok(found.into_iter().next())
}
