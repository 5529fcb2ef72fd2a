//! A CSV of labels beside the photos it names: in a tar, a gzipped tar, or files.

use crate::archive::{Archive, Members};
use crate::csv;
use crate::dataset::{Dataset, Item, Source, Target};
use crate::error::Error;
use mobilenet_run::image::MAX_FILE_BYTES;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest CSV, in bytes.
const MAX_CSV: u64 = 1 << 30;

/// A line of the CSV.
struct Row {
    line: usize,
    file: String,
    class: u32,
    /// First byte and size in the tar.
    place: Option<(u64, u64)>,
}

/// Opens a CSV or an archive, and the other beside it.
pub(crate) fn open_beside(path: &Path, known: Option<&[String]>) -> Result<Dataset, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
    // The name is ASCII where it is cut, so bytes are characters.
    let stem = |ending: &str| {
        let text = path.to_str().filter(|_| name.ends_with(ending));
        text.map(|text| &text[..text.len() - ending.len()])
    };
    if stem(".csv").is_some() {
        return open(path, None, known);
    }
    let Some(stem) = [".tar.gz", ".tgz", ".tar"].into_iter().find_map(stem) else {
        return Err(Error::Kind { path: path.to_owned() });
    };
    let csv = PathBuf::from(format!("{stem}.csv"));
    if !csv.is_file() {
        return Err(Error::MissingCsv { archive: path.to_owned(), csv });
    }
    open(&csv, Some(path), known)
}

/// Opens a CSV and the given archive, or the one beside it.
pub(crate) fn open(csv: &Path, archive: Option<&Path>, known: Option<&[String]>) -> Result<Dataset, Error> {
    let mut text = String::new();
    let file = File::open(csv).map_err(Error::io(csv))?;
    file.take(MAX_CSV + 1).read_to_string(&mut text).map_err(Error::io(csv))?;
    if text.len() as u64 > MAX_CSV {
        return Err(Error::TooMuch { path: csv.to_owned(), what: "the list's bytes", limit: MAX_CSV });
    }
    let (rows, classes) = read_rows(csv, &text, known)?;
    if rows.is_empty() {
        return Err(Error::NoPhotos { path: csv.to_owned() });
    }
    let beside = || ["tar", "tar.gz", "tgz"].map(|e| csv.with_extension(e)).into_iter().find(|path| path.is_file());
    let archive = archive.map(Path::to_owned).or_else(beside);
    let (sources, archive) = match archive {
        Some(archive) => members(csv, &archive, &rows)?,
        None => (files(csv, &rows)?, None),
    };
    let targets = rows.iter().map(|row| Target::Class(row.class));
    let items = sources.into_iter().zip(targets).map(|(source, target)| Item { source, target }).collect();
    Ok(Dataset { path: csv.to_owned(), classes, items, archive, ignored: Vec::new() })
}

/// Finds the rows' photos in an archive.
fn members(csv: &Path, path: &Path, rows: &[Row]) -> Result<(Vec<Source>, Option<Archive>), Error> {
    let gzip =
        path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz") || ending.eq_ignore_ascii_case("tgz"));
    let wanted: HashSet<&str> = rows.iter().map(|row| strip(&row.file)).collect();
    let (archive, found) = if gzip {
        Archive::unpack(path, &wanted)?
    } else if rows.iter().all(|row| row.place.is_some()) {
        let (archive, length) = Archive::plain(path)?;
        for row in rows {
            let (offset, size) = row.place.expect("every row has a place");
            if offset.checked_add(size).is_none_or(|end| end > length) {
                let reason = format!("{size} bytes from {offset} reach beyond the archive's {length}");
                return Err(line(csv, row.line, reason));
            }
        }
        (archive, Members::new())
    } else {
        Archive::scan(path, &wanted)?
    };
    let source = |row: &Row| {
        let name = row.file.clone();
        let place = if gzip { None } else { row.place };
        match place.or_else(|| found.get(strip(&name)).copied()) {
            Some((offset, size)) => Ok(Source::Member { name, offset, size }),
            None => Err(Error::Member { archive: path.to_owned(), member: name, line: row.line }),
        }
    };
    Ok((rows.iter().map(source).collect::<Result<_, _>>()?, Some(archive)))
}

/// The rows' photos as files beside the CSV.
fn files(csv: &Path, rows: &[Row]) -> Result<Vec<Source>, Error> {
    let folder = csv.parent().unwrap_or(Path::new(""));
    if !folder.join(&rows[0].file).is_file() {
        return Err(Error::MissingArchive { csv: csv.to_owned(), tar: csv.with_extension("tar") });
    }
    Ok(rows.iter().map(|row| Source::File(folder.join(&row.file))).collect())
}

fn strip(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

fn line(csv: &Path, line: usize, reason: impl Into<String>) -> Error {
    Error::Line { path: csv.to_owned(), line, reason: reason.into() }
}

/// The lines below the header, and the class list.
fn read_rows(csv: &Path, text: &str, known: Option<&[String]>) -> Result<(Vec<Row>, Vec<String>), Error> {
    let records = csv::parse(text).map_err(|(number, reason)| line(csv, number, reason))?;
    let Some(((_, header), records)) = records.split_first() else {
        return Err(Error::NoPhotos { path: csv.to_owned() });
    };
    let column = |name: &str| header.iter().position(|field| field.trim() == name);
    let need = |name: &'static str| move |_: ()| Error::Column { path: csv.to_owned(), column: name };
    let file = column("file").ok_or(()).map_err(need("file"))?;
    let class = column("class").or_else(|| column("label")).ok_or(()).map_err(need("class"))?;
    let name = column("name");
    let place = column("offset").zip(column("size"));

    for (number, fields) in records {
        if fields.len() != header.len() {
            let reason = format!("{} fields, but the first line names {}", fields.len(), header.len());
            return Err(line(csv, *number, reason));
        }
        if fields[file].is_empty() {
            return Err(line(csv, *number, "no file is named"));
        }
        if fields[class].trim().is_empty() {
            return Err(line(csv, *number, "no class is given"));
        }
    }
    let numbered = name.is_some() || records.iter().all(|(_, fields)| fields[class].trim().parse::<u32>().is_ok());
    let mut classes = if numbered {
        Classes::numbered(csv, known)
    } else {
        Classes::named(csv, known, records.iter().map(|(_, fields)| fields[class].trim()).collect())
    };
    let mut rows = Vec::with_capacity(records.len());
    for (number, fields) in records {
        let class = classes.index(*number, fields[class].trim(), name.map(|name| fields[name].trim()))?;
        let size = |column: usize| {
            let text = fields[column].trim();
            text.parse::<u64>().map_err(|_| line(csv, *number, format!("`{text}` is no number of bytes")))
        };
        let place = place.map(|(offset, bytes)| Ok::<_, Error>((size(offset)?, size(bytes)?))).transpose()?;
        if let Some((_, bytes)) = place.filter(|&(_, bytes)| bytes > MAX_FILE_BYTES) {
            return Err(line(csv, *number, format!("{bytes} bytes are more than a photo may have ({MAX_FILE_BYTES})")));
        }
        rows.push(Row { line: *number, file: fields[file].clone(), class, place });
    }
    Ok((rows, classes.list()?))
}

/// How classes are numbered.
struct Classes<'a> {
    csv: &'a Path,
    known: Option<&'a [String]>,
    /// Names in order, if the CSV gives names alone.
    names: Option<Vec<String>>,
    /// Names by the CSV's number, as they are met.
    met: BTreeMap<u32, String>,
}

impl<'a> Classes<'a> {
    fn numbered(csv: &'a Path, known: Option<&'a [String]>) -> Self {
        Classes { csv, known, names: None, met: BTreeMap::new() }
    }

    fn named(csv: &'a Path, known: Option<&'a [String]>, names: BTreeSet<&str>) -> Self {
        let names = known.map_or_else(|| names.into_iter().map(str::to_owned).collect(), <[String]>::to_vec);
        Classes { csv, known, names: Some(names), met: BTreeMap::new() }
    }

    /// The class of a line.
    fn index(&mut self, number: usize, class: &str, name: Option<&str>) -> Result<u32, Error> {
        let unknown = |class: &str, known: usize| Error::UnknownClass {
            path: self.csv.to_owned(),
            class: class.to_owned(),
            known,
        };
        if let Some(names) = &self.names {
            let found = names.iter().position(|name| name == class);
            return found.map(|index| index as u32).ok_or_else(|| unknown(class, names.len()));
        }
        let Ok(index) = class.parse::<u32>() else {
            return Err(line(self.csv, number, format!("class `{class}` is no number from 0")));
        };
        let own = name.map_or_else(|| format!("class {index}"), str::to_owned);
        match self.met.get(&index) {
            Some(before) if *before != own => {
                let reason = format!("class {index} is called `{own}` here and `{before}` further up");
                return Err(line(self.csv, number, reason));
            }
            Some(_) => {}
            None => {
                self.met.insert(index, own);
            }
        }
        let Some(known) = self.known else { return Ok(index) };
        match (known.get(index as usize), name) {
            // A number is believed where the name agrees, as two of ImageNet's classes share one; else names decide.
            (Some(class), Some(name)) if class == name => Ok(index),
            (_, Some(name)) => {
                let found = known.iter().position(|class| class == name);
                found.map(|index| index as u32).ok_or_else(|| unknown(name, known.len()))
            }
            (Some(_), None) => Ok(index),
            (None, None) => {
                let reason = format!("class {index} is out of range, there are {} classes, from 0", known.len());
                Err(line(self.csv, number, reason))
            }
        }
    }

    /// The class list, once all lines were seen.
    fn list(self) -> Result<Vec<String>, Error> {
        if let Some(known) = self.known {
            return Ok(known.to_vec());
        }
        if let Some(names) = self.names {
            return Ok(names);
        }
        // The first gap comes before as many classes as there are lines, whatever the largest number.
        for (expected, &index) in self.met.keys().enumerate() {
            if index as usize != expected {
                return Err(Error::EmptyClass { path: self.csv.to_owned(), class: format!("class {expected}") });
            }
        }
        Ok(self.met.into_values().collect())
    }
}
