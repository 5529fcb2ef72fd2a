//! A CSV of labels beside the photos it names: in a tar, a gzipped tar, or files.

use crate::archive::{Archive, Members};
use crate::csv;
use crate::dataset::{Dataset, Item, Source, Target};
use crate::error::Error;
use crate::shards;
use mobilenet_run::image::MAX_FILE_BYTES;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest CSV, in bytes.
const MAX_CSV: u64 = 1 << 30;
/// Longest first line that is looked at in a folder's CSV, in bytes.
const MAX_HEADER: u64 = 1 << 16;

/// A line of the CSV.
struct Row {
    line: usize,
    file: String,
    target: Target,
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
        let missing = Error::MissingCsv { archive: path.to_owned(), csv };
        return match name.ends_with(".tar").then(|| shards::open(path, &[path.to_owned()], known)) {
            None | Some(Err(Error::Unlabelled { .. } | Error::NoPhotos { .. })) => Err(missing),
            Some(opened) => opened,
        };
    }
    open(&csv, Some(path), known)
}

/// Opens a CSV or an archive with the other beside it, where classes do not matter: a CSV may number them with gaps.
pub(crate) fn open_photos(path: &Path) -> Result<Dataset, Error> {
    let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    if is_csv { open_with(path, None, None, |_| Ok(Vec::new())) } else { open_beside(path, None) }
}

/// Opens a CSV and the given archive, or the one beside it.
pub(crate) fn open(csv: &Path, archive: Option<&Path>, known: Option<&[String]>) -> Result<Dataset, Error> {
    open_with(csv, archive, known, |classes| classes.list())
}

/// As [`open`], with the class list that `list` makes.
fn open_with(csv: &Path, archive: Option<&Path>, known: Option<&[String]>, list: ListOf) -> Result<Dataset, Error> {
    let mut text = String::new();
    let file = File::open(csv).map_err(Error::io(csv))?;
    file.take(MAX_CSV + 1).read_to_string(&mut text).map_err(Error::io(csv))?;
    if text.len() as u64 > MAX_CSV {
        return Err(Error::TooMuch { path: csv.to_owned(), what: "the list's bytes", limit: MAX_CSV });
    }
    let (rows, classes, is_by_number) = read_rows(csv, &text, known, list)?;
    if rows.is_empty() {
        return Err(Error::NoPhotos { path: csv.to_owned() });
    }
    let beside = || ["tar", "tar.gz", "tgz"].map(|e| csv.with_extension(e)).into_iter().find(|path| path.is_file());
    let archive = archive.map(Path::to_owned).or_else(beside);
    let (sources, archive) = match archive {
        Some(archive) => members(csv, &archive, &rows)?,
        None => (files(csv, &rows)?, None),
    };
    let targets = rows.into_iter().map(|row| row.target);
    let items = sources.into_iter().zip(targets).map(|(source, target)| Item { source, target }).collect();
    let archives = archive.into_iter().collect();
    let ignored = Vec::new();
    Ok(Dataset { path: csv.to_owned(), classes, items, archives, ignored, is_by_number, is_sharded: false })
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
            Some((offset, size)) => Ok(Source::Member { archive: 0, name, offset, size }),
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

/// Whether a file is a CSV whose first line names photos and what they show.
pub(crate) fn names_labels(path: &Path) -> bool {
    let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) && path.is_file();
    let first = || {
        let mut text = Vec::new();
        File::open(path).ok()?.take(MAX_HEADER).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let (_, header) = csv::parse(text.lines().next()?).ok()?.into_iter().next()?;
        Columns::new(path, &header).ok()
    };
    is_csv && first().is_some()
}

/// What the first line names.
struct Columns {
    count: usize,
    file: usize,
    labels: Vec<usize>,
    name: Option<usize>,
    place: Option<(usize, usize)>,
    /// Columns before the labels that end the line, of which there may be any number; none where they do not.
    before_labels: Option<usize>,
}

impl Columns {
    fn new(csv: &Path, header: &[String]) -> Result<Columns, Error> {
        let is = |name: &'static str| move |field: &String| field.trim() == name;
        let column = |name: &'static str| header.iter().position(is(name));
        let need = |name: &'static str| Error::Column { path: csv.to_owned(), column: name };
        let file = column("file").ok_or_else(|| need("file"))?;
        let class = column("class");
        let labels = match class {
            Some(class) => vec![class],
            None => (0..header.len()).filter(|&i| is("label")(&header[i])).collect(),
        };
        if labels.is_empty() {
            return Err(need("class"));
        }
        let before_labels = header.iter().rposition(|field| !is("label")(field)).map_or(0, |last| last + 1);
        Ok(Columns {
            count: header.len(),
            file,
            labels,
            name: column("name"),
            place: column("offset").zip(column("size")),
            before_labels: Some(before_labels).filter(|&b| class.is_none() && b < header.len()),
        })
    }

    /// What a line's photo shows.
    fn labels<'a>(&'a self, fields: &'a [String]) -> impl Iterator<Item = &'a str> {
        let further = fields.get(self.count..).unwrap_or_default();
        let named = self.labels.iter().filter_map(|&column| fields.get(column));
        named.chain(further).map(|field| field.trim()).filter(|label| !label.is_empty())
    }

    /// Whether photos may have any number of labels.
    fn are_many(&self, records: &[csv::Record]) -> bool {
        let is_open = |records: &[csv::Record]| records.iter().any(|(_, fields)| self.labels(fields).count() != 1);
        self.labels.len() > 1 || (self.before_labels.is_some() && is_open(records))
    }

    /// Refuses a line that does not fit the first.
    fn check(&self, csv: &Path, many: bool, (number, fields): &csv::Record) -> Result<(), Error> {
        let fits = match self.before_labels.filter(|_| many) {
            Some(before) => fields.len() >= before,
            None => fields.len() == self.count,
        };
        if !fits {
            let reason = format!("{} fields, but the first line names {}", fields.len(), self.count);
            return Err(line(csv, *number, reason));
        }
        if fields[self.file].is_empty() {
            return Err(line(csv, *number, "no file is named"));
        }
        if !many && self.labels(fields).next().is_none() {
            return Err(line(csv, *number, "no class is given"));
        }
        Ok(())
    }

    /// First byte and size of a line's photo in the tar.
    fn place(&self, csv: &Path, (number, fields): &csv::Record) -> Result<Option<(u64, u64)>, Error> {
        let Some((offset, bytes)) = self.place else { return Ok(None) };
        let size = |column: usize| {
            let text = fields[column].trim();
            text.parse::<u64>().map_err(|_| line(csv, *number, format!("`{text}` is no number of bytes")))
        };
        let (offset, bytes) = (size(offset)?, size(bytes)?);
        if bytes > MAX_FILE_BYTES {
            return Err(line(csv, *number, format!("{bytes} bytes are more than a photo may have ({MAX_FILE_BYTES})")));
        }
        Ok(Some((offset, bytes)))
    }
}

/// The lines below the header, the class list, and whether a known class was told by its number alone.
fn read_rows(
    csv: &Path,
    text: &str,
    known: Option<&[String]>,
    list: ListOf,
) -> Result<(Vec<Row>, Vec<String>, bool), Error> {
    let records = csv::parse(text).map_err(|(number, reason)| line(csv, number, reason))?;
    let Some(((_, header), records)) = records.split_first() else {
        return Err(Error::NoPhotos { path: csv.to_owned() });
    };
    let columns = Columns::new(csv, header)?;
    let many = columns.are_many(records);
    records.iter().try_for_each(|record| columns.check(csv, many, record))?;
    let name = columns.name.filter(|_| !many);
    let all = || records.iter().flat_map(|(_, fields)| columns.labels(fields));
    let mut classes = if name.is_some() || all().all(|label| label.parse::<u32>().is_ok()) {
        Classes::numbered(csv, known)
    } else {
        Classes::named(csv, known, all().collect())
    };
    let mut rows = Vec::with_capacity(records.len());
    for record @ (number, fields) in records {
        let name = name.map(|name| fields[name].trim());
        let indices = columns.labels(fields).map(|label| classes.index(*number, label, name));
        let indices = indices.collect::<Result<BTreeSet<u32>, _>>()?;
        let target = match indices.first() {
            Some(&class) if !many => Target::Class(class),
            _ => Target::Labels(indices.into_iter().collect()),
        };
        let place = columns.place(csv, record)?;
        rows.push(Row { line: *number, file: fields[columns.file].clone(), target, place });
    }
    let is_by_number = classes.is_by_number;
    Ok((rows, list(classes)?, is_by_number))
}

/// Makes a class list, once all lines were seen.
type ListOf = fn(Classes) -> Result<Vec<String>, Error>;

/// How classes are numbered.
struct Classes<'a> {
    csv: &'a Path,
    known: Option<&'a [String]>,
    /// Names in order, if the CSV gives names alone.
    names: Option<Vec<String>>,
    /// Names by the CSV's number, as they are met.
    met: BTreeMap<u32, String>,
    /// Whether a number alone said which of the known classes is meant.
    is_by_number: bool,
}

impl<'a> Classes<'a> {
    fn numbered(csv: &'a Path, known: Option<&'a [String]>) -> Self {
        Classes { csv, known, names: None, met: BTreeMap::new(), is_by_number: false }
    }

    fn named(csv: &'a Path, known: Option<&'a [String]>, names: BTreeSet<&str>) -> Self {
        let names = known.map_or_else(|| names.into_iter().map(str::to_owned).collect(), <[String]>::to_vec);
        Classes { csv, known, names: Some(names), met: BTreeMap::new(), is_by_number: false }
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
            (Some(_), None) => {
                self.is_by_number = true;
                Ok(index)
            }
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
