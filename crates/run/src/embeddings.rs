//! Embeddings in files: for NumPy, for spreadsheets, and as safetensors with everything in one.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use mobilenet_net::{Error, Params, Tensor, file, weights};

/// A vector for each of some photos.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// The photos' names.
    pub names: Vec<String>,
    /// Values of a vector.
    pub len: usize,
    /// Vector by vector.
    pub values: Vec<f32>,
    /// Of which network and features; empty where that is not known. Vectors of two sources cannot be compared.
    pub source: String,
}

/// The tensor in a safetensors file, N×D.
const TENSOR: &str = "embeddings";
/// The metadata's key for the photos' names, a JSON list.
const NAMES: &str = "names";
/// The metadata's key for their network.
const SOURCE: &str = "source";

/// The formats that are written, by their names' endings.
const ENDINGS: [&str; 3] = ["npy", "safetensors", "csv"];

impl Embeddings {
    /// Appends a photo's vector.
    ///
    /// # Panics
    /// Where it has another length than the others.
    pub fn push(&mut self, name: String, vector: &[f32]) {
        assert!(self.names.is_empty() || vector.len() == self.len, "{} values after {}", vector.len(), self.len);
        self.len = vector.len();
        self.names.push(name);
        self.values.extend_from_slice(vector);
    }

    /// Each photo's name and vector.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.names.iter().map(String::as_str).zip(self.values.chunks_exact(self.len.max(1)))
    }

    /// Refuses a path that [`save`](Embeddings::save) could not write to, for whoever works long before writing.
    ///
    /// # Errors
    /// Another ending than those that are written; a folder that cannot be written.
    pub fn check_writable(path: &Path) -> Result<(), Error> {
        if ending(path)? == "npy" {
            file::check(names_path(path))?;
        }
        file::check(path)
    }

    /// Writes the file, whole or not at all, by its name's ending: `.npy`, an array of N×D `f32`, with the names a line each
    /// in a file beside it (see [`names_path`]); `.safetensors`, the tensor `embeddings` with names and source in the metadata;
    /// `.csv`, a line a photo, name first.
    ///
    /// # Errors
    /// As [`check_writable`](Embeddings::check_writable).
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        match ending(path)? {
            "npy" => {
                let names: String = self.names.iter().map(|name| one_line(name) + "\n").collect();
                // Whatever happens between, no array lies beside names that are not its own.
                match std::fs::remove_file(path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::write(path)(e)),
                    _ => {}
                }
                file::write(names_path(path), names.as_bytes())?;
                file::replace(path, |file| self.write_npy(&mut BufWriter::new(file)))
            }
            "csv" => file::replace(path, |file| self.write_csv(BufWriter::new(file))),
            _ => {
                let names = serde_json::to_string(&self.names).expect("strings are JSON");
                let tensor = Tensor::from_f32(&[self.names.len(), self.len], self.values.clone());
                let (tensors, metadata) = (
                    [(TENSOR.into(), tensor)].into(),
                    [(NAMES.into(), names), (SOURCE.into(), self.source.clone())].into(),
                );
                weights::save(path, &Params { tensors, metadata })
            }
        }
    }

    /// Reads a safetensors file of [`save`](Embeddings::save).
    ///
    /// # Errors
    /// A file that cannot be read or holds no embeddings.
    pub fn open(path: &Path) -> Result<Embeddings, Error> {
        let none = || Error::format(path, "it holds no embeddings; `mobilenet embed -o FILE.safetensors` writes them");
        match weights::format(path) {
            Ok("safetensors") => {}
            Err(error @ Error::Io { .. }) => return Err(error),
            _ => return Err(none()),
        }
        let Params { mut tensors, metadata } = weights::open_where(path, |name| name == TENSOR)?;
        let (tensor, names) = (tensors.remove(TENSOR).ok_or_else(none)?, metadata.get(NAMES).ok_or_else(none)?);
        let names: Vec<String> =
            serde_json::from_str(names).map_err(|e| Error::format(path, format!("its photos' names: {e}")))?;
        let source = metadata.get(SOURCE).cloned().unwrap_or_default();
        match *tensor.shape() {
            [n, len] if n == names.len() && len > 0 => Ok(Embeddings { names, len, values: tensor.into_f32(), source }),
            _ => {
                let (shape, names) = (tensor.shape(), names.len());
                Err(Error::format(path, format!("embeddings of shape {shape:?} for {names} photos")))
            }
        }
    }

    /// NumPy's format, version 1.0 (numpy@2.0 `lib/format.py`): a dictionary as text, padded so that the values start at a
    /// multiple of 64 bytes.
    fn write_npy(&self, out: &mut impl Write) -> std::io::Result<()> {
        const BEFORE: usize = 10;
        let (n, len) = (self.names.len(), self.len);
        let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {len}), }}");
        let padded = (BEFORE + header.len() + 1).next_multiple_of(64) - BEFORE;
        header.extend(std::iter::repeat_n(' ', padded - 1 - header.len()));
        header.push('\n');
        out.write_all(b"\x93NUMPY\x01\x00")?;
        out.write_all(&(padded as u16).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        self.values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))?;
        out.flush()
    }

    fn write_csv(&self, out: impl Write) -> std::io::Result<()> {
        let mut table = csv::Writer::from_writer(out);
        let header = std::iter::once("path".to_owned()).chain((0..self.len).map(|i| format!("f{i}")));
        table.write_record(header)?;
        for (name, vector) in self.iter() {
            table.write_field(name)?;
            table.write_record(vector.iter().map(f32::to_string))?;
        }
        table.flush()
    }
}

/// Where the photos' names of a `.npy` file lie: `photos.npy` has `photos.npy.txt`.
pub fn names_path(npy: &Path) -> PathBuf {
    let mut path = npy.as_os_str().to_owned();
    path.push(".txt");
    path.into()
}

/// A name with its line breaks as spaces.
fn one_line(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}

/// The ending that decides about the format.
fn ending(path: &Path) -> Result<&'static str, Error> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ENDINGS
        .into_iter()
        .find(|known| ending.as_deref() == Some(known))
        .ok_or_else(|| Error::format(path, "embeddings are written as .npy, .safetensors or .csv; give such a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Embeddings {
        let mut all = Embeddings { source: "pooled features of a network".into(), ..Embeddings::default() };
        all.push("a, \"b\".jpg".into(), &[1.0, -0.25, 3.5]);
        all.push("größe\n.jpg".into(), &[0.1, f32::MIN_POSITIVE, 1e30]);
        all
    }

    #[test]
    fn safetensors_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.safetensors");
        two().save(&path).unwrap();
        assert_eq!(Embeddings::open(&path).unwrap(), two());
        let weights = folder.path().join("w.safetensors");
        weights::save(&weights, &Params::default()).unwrap();
        assert!(Embeddings::open(&weights).unwrap_err().to_string().contains("holds no embeddings"));
    }

    #[test]
    fn npy_is_as_numpy_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.npy");
        two().save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        // numpy.save of the same array begins with these 128 bytes.
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00\x76\x00");
        assert_eq!(String::from_utf8_lossy(&bytes[10..128]), format!("{header:<117}\n"));
        let values: Vec<f32> = bytes[128..].as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        assert_eq!(values, two().values);
        assert_eq!(std::fs::read_to_string(names_path(&path)).unwrap(), "a, \"b\".jpg\ngröße .jpg\n");
    }

    #[test]
    fn csv_quotes_names_and_keeps_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.csv");
        two().save(&path).unwrap();
        let mut table = csv::Reader::from_path(&path).unwrap();
        assert_eq!(table.headers().unwrap(), vec!["path", "f0", "f1", "f2"]);
        for (row, (name, vector)) in table.records().map(Result::unwrap).zip(two().iter()) {
            assert_eq!(&row[0], name);
            assert!(row.iter().skip(1).zip(vector).all(|(text, value)| text.parse() == Ok(*value)));
        }
    }

    #[test]
    fn other_endings_are_refused_before_anything_is_computed() {
        let text = Embeddings::check_writable(Path::new("all.txt")).unwrap_err().to_string();
        assert_eq!(text, "all.txt: embeddings are written as .npy, .safetensors or .csv; give such a name");
    }
}
