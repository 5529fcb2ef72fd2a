//! What can be wrong with a data set.

use std::path::PathBuf;

/// Why a data set, or a photo in it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Neither folder, CSV nor archive.
    #[error("{path}: this is no data set; give a folder with a folder per class, a .csv, a .tar or a .tar.gz")]
    Kind {
        /// What was given.
        path: PathBuf,
    },
    /// A folder with nothing to learn from.
    #[error("{path}: no photos here; a data set is a folder with a folder per class, photos inside")]
    NoPhotos {
        /// The folder or CSV.
        path: PathBuf,
    },
    /// Photos, but not sorted into classes.
    #[error("{path}: the photos lie outside any class; put those of each class into a folder of its name")]
    NoClasses {
        /// The folder.
        path: PathBuf,
    },
    /// A class without photos.
    #[error("{path}: class `{class}` has no photos; add some, or remove the class")]
    EmptyClass {
        /// The data set.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// Nothing to tell apart.
    #[error("{path}: there is one class only, `{class}`; training needs two or more")]
    OneClass {
        /// The data set.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// Photos with any number of labels, and all have none.
    #[error("{path}: no photo has a label; name those that a photo shows after its file: file,label,label")]
    NoLabels {
        /// The data set.
        path: PathBuf,
    },
    /// A class that training does not know.
    #[error("{path}: class `{class}` is not among the {known} classes of the training data or model")]
    UnknownClass {
        /// The data set.
        path: PathBuf,
        /// The class.
        class: String,
        /// Classes that are known.
        known: usize,
    },
    /// Two folders that could be the same set.
    #[error("{path}: both `{first}` and `{second}` could hold the {what} photos; keep one of them")]
    TwoFolders {
        /// The data set.
        path: PathBuf,
        /// `training` or `validation`.
        what: &'static str,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A class folder whose name is not Unicode.
    #[error("{path}: the folder's name is not UTF-8, so it cannot name a class; rename it")]
    Name {
        /// The folder.
        path: PathBuf,
    },
    /// Folders inside folders without end.
    #[error("{path}: folders lie more than {depth} deep; is one a link to a folder above it?")]
    Depth {
        /// The folder.
        path: PathBuf,
        /// The limit.
        depth: usize,
    },
    /// A CSV without what is needed.
    #[error("{path}: the first line names no column `{column}`; `file,class,name` is needed, or `file,label`")]
    Column {
        /// The CSV.
        path: PathBuf,
        /// The missing column.
        column: &'static str,
    },
    /// A line that cannot be understood.
    #[error("{path}: line {line}: {reason}")]
    Line {
        /// The CSV.
        path: PathBuf,
        /// Counted from 1, the header included.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A CSV without photos.
    #[error("{csv}: no archive lies beside it; {tar} or {tar}.gz is needed, or the photos under the CSV's names")]
    MissingArchive {
        /// The CSV.
        csv: PathBuf,
        /// The archive's expected path.
        tar: PathBuf,
    },
    /// An archive without labels.
    #[error("{archive}: no CSV lies beside it; {csv} is needed, with columns `file,class,name`")]
    MissingCsv {
        /// The archive.
        archive: PathBuf,
        /// The CSV's expected path.
        csv: PathBuf,
    },
    /// A member that the CSV names and the archive lacks.
    #[error("{archive}: has no member `{member}`, which line {line} of the CSV names")]
    Member {
        /// The archive.
        archive: PathBuf,
        /// The missing photo.
        member: String,
        /// Counted from 1, the header included.
        line: usize,
    },
    /// A shard, its name or the class list beside it that cannot be used.
    #[error("{path}: {reason}")]
    Shard {
        /// The file or pattern.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A photo in a shard without a label.
    #[error(
        "{shard}: photo `{name}` has no label; put a `.cls` (number), `.json` (`label`) or `.txt` (name) beside it"
    )]
    Unlabelled {
        /// The shard.
        shard: PathBuf,
        /// The photo's name there.
        name: String,
    },
    /// More data than any sensible archive unpacks to.
    #[error("{archive}: unpacks to more than {limit} bytes, which its size does not explain; it may be damaged")]
    Bomb {
        /// The archive.
        archive: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A data set with more photos or longer lists than are handled.
    #[error("{path}: {what} has more than {limit}, the most that is read")]
    TooMuch {
        /// The data set.
        path: PathBuf,
        /// Of what there is too much.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A part of the photos that is none or all.
    #[error("{path}: a share of {share} cannot be put aside to check with; give one between 0 and 1, such as 0.15")]
    Share {
        /// The data set.
        path: PathBuf,
        /// What was asked for.
        share: f64,
    },
    /// A photo that cannot be decoded.
    #[error(transparent)]
    Photo(#[from] mobilenet_run::image::Error),
    /// Nothing to fill a batch with.
    #[error("none of the {photos} photos can be read; the first: {first}")]
    AllUnreadable {
        /// How many were tried.
        photos: usize,
        /// The first one's trouble.
        first: String,
    },
    /// A bug in the loader.
    #[error("a loading thread stopped unexpectedly")]
    Worker,
}

impl Error {
    /// For `map_err`: an operating system's error about `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}
