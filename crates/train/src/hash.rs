//! A number that any change of a bit changes: the multiply-rotate hash of Firefox and rustc. The same on every machine and
//! with every compiler, so that files can hold it. Against accidents only.

/// The hash of what was added so far, in order.
#[derive(Default)]
pub(crate) struct Hash(u64);

impl Hash {
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        bytes.iter().for_each(|&byte| self.word(byte.into()));
    }

    pub fn get(&self) -> u64 {
        self.0
    }
}
