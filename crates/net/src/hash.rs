//! A number that hardly any change leaves as it was: the multiply-rotate hash of Firefox and rustc. The same on every
//! machine and with every compiler, so that files can hold it. Against accidents only.

use std::collections::BTreeMap;

use crate::tensor::{Data, Tensor};

/// The hash of what was added so far, in order.
#[derive(Clone, Debug, Default)]
pub struct Hash(u64);

impl Hash {
    /// Adds a number.
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Adds bytes and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        bytes.iter().for_each(|&byte| self.word(byte.into()));
    }

    /// Adds names, shapes and elements.
    pub fn tensors(&mut self, tensors: &BTreeMap<String, Tensor>) {
        for (name, tensor) in tensors {
            self.bytes(name.as_bytes());
            tensor.shape().iter().for_each(|&n| self.word(n as u64));
            match tensor.data() {
                Data::F32(v) => v.iter().for_each(|x| self.word(x.to_bits().into())),
                Data::F16(v) => v.iter().for_each(|x| self.word(x.to_bits().into())),
                Data::Bf16(v) => v.iter().for_each(|x| self.word(x.to_bits().into())),
                Data::I8(v) => v.iter().for_each(|&x| self.word(x as u64)),
                Data::U8(v) => v.iter().for_each(|&x| self.word(x.into())),
                Data::I32(v) => v.iter().for_each(|&x| self.word(x as u64)),
                Data::I64(v) => v.iter().for_each(|&x| self.word(x as u64)),
            }
        }
    }

    /// The hash.
    pub fn get(&self) -> u64 {
        self.0
    }
}
