//! A folder per class, or a folder of photos with a CSV that says what they show.

use crate::dataset::{Dataset, Item, Source, Target};
use crate::error::Error;
use crate::shards;
use crate::table;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Endings of photos' names. What is inside decides how they are read.
pub const PHOTOS: [&str; 8] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif"];

/// Folders inside a class that are looked into.
const MAX_DEPTH: usize = 16;

/// Opens the folder; classes are its folders' names, or those of `known`. Where a single file in it is a CSV that names
/// photos and labels, that one is opened.
pub(crate) fn open(path: &Path, known: Option<&[String]>) -> Result<Dataset, Error> {
    let entries = entries(path)?;
    if let [csv] = entries.iter().filter(|entry| table::names_labels(entry)).collect::<Vec<_>>()[..] {
        return table::open(csv, None, known);
    }
    if !entries.iter().any(|entry| entry.is_dir() || table::names_labels(entry)) {
        let files = shards::in_folder(&entries)?;
        if !files.is_empty() {
            let mut set = shards::open(path, &files, known)?;
            let used: HashSet<PathBuf> = files.into_iter().collect();
            set.ignored =
                entries.into_iter().filter(|file| !used.contains(file) && !shards::is_class_list(file)).collect();
            return Ok(set);
        }
    }
    let mut folders = Vec::new();
    let mut loose = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            let Some(name) = entry.file_name().and_then(|name| name.to_str()) else {
                return Err(Error::Name { path: entry });
            };
            folders.push((name.to_owned(), entry));
        } else {
            loose.push(entry);
        }
    }
    if folders.is_empty() {
        let path = path.to_owned();
        return Err(if loose.iter().any(|file| is_photo_file(file)) {
            Error::NoClasses { path }
        } else {
            Error::NoPhotos { path }
        });
    }
    // By the names' bytes, which is the order of Python's `sorted`, and so of torchvision's `ImageFolder`.
    folders.sort_unstable();
    let classes = known.map_or_else(|| folders.iter().map(|(name, _)| name.clone()).collect(), <[String]>::to_vec);
    let mut set = Dataset {
        path: path.to_owned(),
        classes,
        items: Vec::new(),
        archives: Arc::new([]),
        ignored: loose,
        is_by_number: false,
        is_sharded: false,
    };
    for (name, folder) in folders {
        let Some(class) = set.classes.iter().position(|class| *class == name) else {
            return Err(Error::UnknownClass { path: path.to_owned(), class: name, known: set.classes.len() });
        };
        collect(&folder, 0, Target::Class(class as u32), &mut set)?;
    }
    if set.items.is_empty() {
        return Err(Error::NoPhotos { path: path.to_owned() });
    }
    Ok(set)
}

/// Opens a folder of photos as the class of its name; `None` where it holds folders, a list of photos or no photos.
pub(crate) fn open_class(path: &Path) -> Result<Option<Dataset>, Error> {
    if !path.is_dir() || is_set(path) || !entries(path)?.iter().any(|file| is_photo_file(file)) {
        return Ok(None);
    }
    let whole = path.canonicalize().map_err(Error::io(path))?;
    let name = whole.file_name().and_then(|name| name.to_str()).ok_or_else(|| Error::Name { path: path.to_owned() })?;
    Ok(Some(Dataset { classes: vec![name.to_owned()], ..open_photos(path)? }))
}

/// Opens the folder's photos, and those of the folders in it, or of the single CSV in it, whatever their classes.
pub(crate) fn open_photos(path: &Path) -> Result<Dataset, Error> {
    if let [csv] = entries(path)?.iter().filter(|entry| table::names_labels(entry)).collect::<Vec<_>>()[..] {
        return table::open_photos(csv);
    }
    let mut set = Dataset {
        path: path.to_owned(),
        classes: Vec::new(),
        items: Vec::new(),
        archives: Arc::new([]),
        ignored: Vec::new(),
        is_by_number: false,
        is_sharded: false,
    };
    collect(path, 0, Target::Class(0), &mut set)?;
    Ok(set)
}

/// Whether a folder holds a data set and not a class's photos: folders, a list of photos, or shards.
pub(crate) fn is_set(path: &Path) -> bool {
    entries(path).is_ok_and(|entries| {
        entries.iter().any(|entry| entry.is_dir() || table::names_labels(entry)) || shards::are_in(&entries)
    })
}

/// Adds the photos in a folder and the folders in it, in the order of their names.
fn collect(folder: &Path, depth: usize, target: Target, set: &mut Dataset) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Depth { path: folder.to_owned(), depth: MAX_DEPTH });
    }
    for path in entries(folder)? {
        if path.is_dir() {
            collect(&path, depth + 1, target.clone(), set)?;
        } else if is_photo_file(&path) {
            set.items.push(Item { source: Source::File(path), target: target.clone() });
        } else {
            set.ignored.push(path);
        }
    }
    Ok(())
}

/// What is in a folder, hidden files apart, by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Whether a file's name ends as a photo's does.
pub fn is_photo_file(path: &Path) -> bool {
    path.extension().and_then(|ending| ending.to_str()).is_some_and(is_photo)
}

/// Whether a name with this ending is taken for a photo's.
pub fn is_photo(ending: &str) -> bool {
    PHOTOS.iter().any(|photo| photo.eq_ignore_ascii_case(ending))
}
