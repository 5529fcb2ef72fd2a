//! Features of a few photos of each class inside a weights file: what is strange, and classes that are added later, are told
//! by them where the photos themselves are not at hand.
//!
//! The tensor `exemplars.features` is photos × features, in half precision, as the classifier reads them; the metadata's
//! `exemplars` says the class of each row. Readers that know nothing of it see one more tensor.

use std::path::Path;

use crate::error::Error;
use crate::tensor::{DType, Params, Tensor};
use crate::weights;

/// The metadata's key.
const KEY: &str = "exemplars";
/// The largest number of half precision.
const MOST: f32 = 65504.0;
/// Most rows that are read: whoever learns from them passes over them many times.
const MAX_ROWS: usize = 100_000;
/// The tensor's name.
const FEATURES: &str = "exemplars.features";

/// Features of photos with their classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplars {
    /// Values of a row.
    pub len: usize,
    /// A row a photo.
    pub rows: Vec<f32>,
    /// The photos' classes.
    pub classes: Vec<u32>,
}

impl Exemplars {
    /// Adds them to what a file will hold.
    pub(crate) fn write_into(self, params: &mut Params) {
        let shape = [self.classes.len(), self.len];
        // Beyond the range of half precision one is as strange as another.
        let rows = self.rows.into_iter().map(|x| x.clamp(-MOST, MOST)).collect();
        let Some(features) = Tensor::from_f32(&shape, rows).into_float(DType::F16) else { return };
        params.tensors.insert(FEATURES.into(), features);
        params.metadata.insert(KEY.into(), serde_json::to_string(&self.classes).expect("numbers are JSON"));
    }

    /// Those of the file at `path`, a network of so many classes whose classifier reads so many features; `None` where it has
    /// none.
    ///
    /// # Errors
    /// As [`weights::open`]; exemplars of another network.
    pub fn read(path: &Path, classes: usize, features: usize) -> Result<Option<Exemplars>, Error> {
        let Params { mut tensors, metadata } = weights::open_where(path, |name| name == FEATURES)?;
        let Some(tensor) = tensors.remove(FEATURES) else { return Ok(None) };
        let wrong = |reason: String| Error::format(path, format!("its exemplars: {reason}"));
        let text = metadata.get(KEY).ok_or_else(|| wrong(format!("{FEATURES} without their classes")))?;
        let of: Vec<u32> = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let is_half = tensor.dtype() == DType::F16 && of.len() <= MAX_ROWS;
        if !is_half || tensor.shape() != [of.len(), features] || of.iter().any(|&class| class as usize >= classes) {
            let shape = tensor.shape();
            let (dtype, photos) = (tensor.dtype(), of.len());
            let text = format!(
                "{dtype:?} {shape:?} of {photos} photos, for F16 of {features} features and {classes} classes, of at most \
                 {MAX_ROWS} photos"
            );
            return Err(wrong(text));
        }
        let rows = tensor.into_f32();
        if rows.iter().any(|value| !value.is_finite()) {
            return Err(wrong("values that are no finite numbers".into()));
        }
        Ok(Some(Exemplars { len: features, rows, classes: of }))
    }

    /// The rows with their classes.
    pub fn iter(&self) -> impl Iterator<Item = (&[f32], u32)> {
        self.rows.chunks_exact(self.len.max(1)).zip(self.classes.iter().copied())
    }

    /// Adds a row.
    ///
    /// # Panics
    /// Where it has another length than the others.
    pub fn push(&mut self, row: &[f32], class: u32) {
        assert_eq!(row.len(), self.len, "a row of features");
        self.rows.extend_from_slice(row);
        self.classes.push(class);
    }
}
