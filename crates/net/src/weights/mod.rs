//! Weights files to [`Params`] and back. The format is recognised by content, never by the file's name.
//!
//! A new format is one file with a `Format` and one line in `FORMATS`. Readers take tensors one by one at their
//! positions (`Source`) and map nothing into memory: a file cut short under a map kills the process, and mapped pages
//! count as memory. Only TensorFlow Lite's few megabytes are read at once: their tables lie anywhere in the file. Every
//! length is checked against the file's size before it allocates or indexes anything.

mod flatbuffer;
mod hdf5;
pub(crate) mod keras;
mod pickle;
mod safetensors;
mod source;
mod state_dict;
mod tfjs;
mod tflite;
mod torch;
mod torch_legacy;

use std::path::Path;

use crate::error::Error;
use crate::tensor::Params;
use source::Source;

pub use safetensors::save;

/// The formats that are read. The first that claims a file reads it: one file of safetensors in 256 starts as JSON does,
/// and Keras's archives start as PyTorch's.
const FORMATS: &[Format] = &[
    safetensors::FORMAT,
    keras::H5,
    keras::ARCHIVE,
    torch_legacy::FORMAT,
    torch::FORMAT,
    tfjs::FORMAT,
    tflite::FORMAT,
];

/// Bytes at the start of a file that decide about its format: a zip archive's first name stands behind thirty.
const HEAD: u64 = 128;

/// Which tensors to read, by name.
type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// A file format.
struct Format {
    /// Its name, for messages.
    name: &'static str,
    /// How it starts.
    is: Mark,
    /// Reads the wanted tensors.
    read: fn(&Source, Wanted) -> Result<Params, Error>,
}

/// Whether a file that starts with these bytes (up to [`HEAD`] of them) has a format.
type Mark = fn(&[u8]) -> bool;

/// What else people bring: what to say of it, and how it starts.
const FOREIGN: &[(&str, Mark)] = &[
    // torch.save until January 2017; the archive's first entry.
    ("is PyTorch's first format, a tar archive of before version 0.1.10: save it again with torch.save", |head| {
        head.starts_with(b"sys_info\0")
    }),
    // A protobuf whose first field is the format's version and whose second is the producer's name.
    ("looks like an ONNX model", |head| matches!(head, [0x08, 1..=20, 0x12, ..])),
    ("is a NumPy array", |head| head.starts_with(b"\x93NUMPY")),
    ("is a GGUF file", |head| head.starts_with(b"GGUF")),
    ("is compressed with gzip: unpack it first", |head| head.starts_with(b"\x1f\x8b")),
    ("is an ncnn network description", |head| head.starts_with(b"7767517\n")),
    ("is a Git LFS pointer, not the file itself: run `git lfs pull`", |head| head.starts_with(b"version https://")),
    ("is a web page, not the file that its link promised", |head| head.starts_with(b"<")),
];

/// Whether `name` is a parameter of a network, as opposed to what [`open`] leaves out: reference tensors (`golden.*`),
/// features of photos (`exemplars.*`) and PyTorch's counters of batches.
pub fn is_parameter(name: &str) -> bool {
    !name.starts_with("golden.")
        && !name.starts_with("exemplars.")
        && !name.ends_with("num_batches_tracked")
        && name != "n_averaged"
}

/// Reads the parameters of a weights file (see [`is_parameter`]) under the names that the file gives them.
///
/// # Errors
/// Where the file is missing, of an unknown format, damaged or hostile. Nothing in a file is ever executed.
pub fn open(path: impl AsRef<Path>) -> Result<Params, Error> {
    open_where(path, is_parameter)
}

/// Reads the tensors whose name satisfies `wanted`, and no byte of any other.
///
/// # Errors
/// As [`open`].
///
/// # Examples
/// ```no_run
/// let reference = mobilenet_net::weights::open_where("v2.safetensors", |name| name.starts_with("golden."))?;
/// # Ok::<(), mobilenet_net::Error>(())
/// ```
pub fn open_where(path: impl AsRef<Path>, wanted: impl Fn(&str) -> bool) -> Result<Params, Error> {
    let source = Source::open(path.as_ref())?;
    let head = source.read(0, source.len().min(HEAD))?;
    match FORMATS.iter().find(|format| (format.is)(&head)) {
        Some(format) => (format.read)(&source, &wanted),
        None => Err(source.error(unknown(&head))),
    }
}

/// A file's size in bytes.
///
/// # Errors
/// A file that is missing, or none.
pub fn size(path: impl AsRef<Path>) -> Result<u64, Error> {
    Ok(Source::open(path.as_ref())?.len())
}

/// The name of a file's format.
///
/// # Errors
/// As [`open`], before any tensor is read.
pub fn format(path: impl AsRef<Path>) -> Result<&'static str, Error> {
    let source = Source::open(path.as_ref())?;
    let head = source.read(0, source.len().min(HEAD))?;
    let found = FORMATS.iter().find(|format| (format.is)(&head));
    found.map(|format| format.name).ok_or_else(|| source.error(unknown(&head)))
}

/// What to say of a file that no format claims.
fn unknown(head: &[u8]) -> String {
    if head.is_empty() {
        return "the file is empty".into();
    }
    let what = FOREIGN.iter().find(|(_, is)| is(head)).map_or("has no known format", |(what, _)| what);
    // PyTorch's two formats have one name.
    let mut read: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
    read.dedup();
    let last = read.pop().unwrap_or_default();
    format!("{what}; weights are read from {} and {last}", read.join(", "))
}
