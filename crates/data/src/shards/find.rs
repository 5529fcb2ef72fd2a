//! Which files are shards, and of which part of the photos.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::splits::{TEST, TRAIN, VALIDATION};

/// Most shards that a pattern may stand for.
const MOST: u64 = 1 << 20;

/// Files of one part, or of all photos.
type Files = Vec<PathBuf>;

/// The shards among a folder's files, in their order.
///
/// # Errors
/// [`Error::Shard`] of compressed ones, where all are.
pub(crate) fn in_folder(entries: &[PathBuf]) -> Result<Files, Error> {
    let ends = |path: &&PathBuf, endings: &[&str]| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        endings.iter().any(|ending| name.ends_with(ending)) && path.is_file()
    };
    let files: Files = entries.iter().filter(|path| ends(path, &[".tar"])).cloned().collect();
    let compressed = entries.iter().find(|path| ends(path, &[".tar.gz", ".tgz"]));
    match compressed {
        Some(path) if files.is_empty() => Err(super::scan::compressed(path)),
        _ => Ok(files),
    }
}

/// Whether a folder holds shards.
pub(crate) fn are_in(entries: &[PathBuf]) -> bool {
    in_folder(entries).is_ok_and(|files| !files.is_empty())
}

/// The shards that `train-{000..146}.tar` stands for; `None` where there are no such braces, or a file of this very name.
///
/// # Errors
/// [`Error::Shard`] of a range that makes no sense.
pub(crate) fn expand(path: &Path) -> Result<Option<Files>, Error> {
    let Some(text) = path.to_str().filter(|_| !path.exists()) else { return Ok(None) };
    let inside = text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (range, after))) = inside else { return Ok(None) };
    let Some((first, last)) = range.split_once("..") else { return Ok(None) };
    let refuse = |reason: String| Error::Shard { path: path.to_owned(), reason };
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()));
    let (Some(from), Some(to)) = (number(first), number(last)) else {
        return Err(refuse(format!("{{{range}}} is no range of numbers; write it as {{000..146}}")));
    };
    if from > to || to - from >= MOST {
        return Err(refuse(format!("{{{range}}} is no range of 1 to {MOST} shards; write it as {{000..146}}")));
    }
    let width = first.len();
    let files: Files = (from..=to).map(|i| PathBuf::from(format!("{before}{i:0width$}{after}"))).collect();
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => Err(refuse(format!("there is no shard {}; give the range of those there", missing.display()))),
        None => Ok(Some(files)),
    }
}

/// The shards of a folder by the words in their names, as in `train-000.tar` and `val-000.tar`: training and, where there
/// are some, validation photos. `None` where no name says `train`.
///
/// # Errors
/// As [`in_folder`]; [`Error::TwoFolders`] where two words mean validation photos.
pub(crate) fn parts(folder: &Path, entries: &[PathBuf]) -> Result<Option<(Files, Option<Files>)>, Error> {
    let files = in_folder(entries)?;
    let of = |words: &[&str]| -> Files { files.iter().filter(|file| says(file, words)).cloned().collect() };
    let train = of(&TRAIN);
    if train.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = VALIDATION.into_iter().filter(|word| !of(&[word]).is_empty()).collect();
    if let [first, second, ..] = names[..] {
        let [first, second] = [first, second].map(|word| format!("{word}-*.tar"));
        return Err(Error::TwoFolders { path: folder.to_owned(), what: "validation", first, second });
    }
    let validation = [of(&VALIDATION), of(&TEST)].into_iter().find(|files| !files.is_empty());
    Ok(Some((train, validation)))
}

/// Whether one of the words stands by itself in a file's name, in any case of letters, digits after it apart.
fn says(file: &Path, words: &[&str]) -> bool {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let mut parts =
        name.split(|c: char| !c.is_alphanumeric()).map(|part| part.trim_end_matches(|c: char| c.is_numeric()));
    parts.any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

/// Names of a list of class names.
const LISTS: [&str; 2] = ["classes.txt", "classes.json"];

/// Whether a file is called as a list of class names is.
pub(crate) fn is_class_list(file: &Path) -> bool {
    file.file_name().is_some_and(|name| LISTS.iter().any(|list| name == *list))
}

/// A list of class names beside shards: in their folder or, where that is one part's, above it.
pub(super) fn class_list(shard: &Path) -> Option<PathBuf> {
    let folder = shard.parent()?;
    let is_part =
        |name: &str| [&TRAIN[..], &VALIDATION, &TEST].concat().iter().any(|part| name.eq_ignore_ascii_case(part));
    let above = folder.file_name().and_then(|name| name.to_str()).filter(|name| is_part(name)).and(folder.parent());
    let places = [Some(folder), above].into_iter().flatten();
    let lists = places.flat_map(|place| LISTS.map(|name| place.join(name)));
    lists.into_iter().find(|list| fs::metadata(list).is_ok_and(|found| found.is_file()))
}
