//! One buffer in which many values have their planned place.

use std::ops::Range;

use mobilenet_kernels::aligned::{ALIGNMENT, AlignedBuf};

use crate::plan::{Lifetime, plan};

/// Index of a value in a [`Memory`].
pub type ValueId = usize;

/// Memory for values that live for some steps each.
#[derive(Debug)]
pub struct Memory {
    buf: AlignedBuf,
    ranges: Vec<Range<usize>>,
}

impl Memory {
    /// Zeroed memory for `values`, each at a cache line's start. Values whose lifetimes overlap share nothing.
    ///
    /// # Errors
    /// The bytes that the system does not give.
    pub fn new(values: &[Lifetime]) -> Result<Memory, usize> {
        let (ranges, total) = plan(values, ALIGNMENT / size_of::<f32>());
        let buf = AlignedBuf::try_zeroed(total).ok_or(total.saturating_mul(size_of::<f32>()))?;
        Ok(Memory { buf, ranges })
    }

    /// Bytes that such a memory takes.
    pub fn bytes_for(values: &[Lifetime]) -> usize {
        plan(values, ALIGNMENT / size_of::<f32>()).1.saturating_mul(size_of::<f32>())
    }

    /// Bytes that all values take together.
    pub fn bytes(&self) -> usize {
        self.buf.len() * size_of::<f32>()
    }

    /// A value.
    pub fn read(&self, value: ValueId) -> &[f32] {
        &self.buf[self.ranges[value].clone()]
    }

    /// A value, to be written.
    pub fn write(&mut self, value: ValueId) -> &mut [f32] {
        &mut self.buf[self.ranges[value].clone()]
    }

    /// Some values to write beside others to read; empty slices where there is none.
    ///
    /// # Panics
    /// Where a value to be written shares memory with another one: the plan rules it out for values that live at once.
    pub fn parts<const W: usize, const R: usize>(
        &mut self,
        writes: [Option<ValueId>; W],
        reads: [Option<ValueId>; R],
    ) -> ([&mut [f32]; W], [&[f32]; R]) {
        let range = |value: Option<ValueId>| value.map_or(0..0, |v| self.ranges[v].clone());
        let (writes, reads) = (writes.map(range), reads.map(range));
        for (i, w) in writes.iter().enumerate() {
            let others = writes[i + 1..].iter().chain(&reads).filter(|r| !r.is_empty());
            for other in others {
                assert!(w.is_empty() || w.end <= other.start || other.end <= w.start, "{w:?} is in use by {other:?}");
            }
            assert!(w.end <= self.buf.len());
        }
        assert!(reads.iter().all(|r| r.end <= self.buf.len()));
        let start = self.buf.as_mut_ptr();
        // SAFETY: every range lies inside the buffer, and none that is written overlaps another one, so each value is
        // borrowed either once mutably or only shared; all borrows end with that of `self`.
        unsafe {
            (
                writes.map(|w| std::slice::from_raw_parts_mut(start.add(w.start), w.len())),
                reads.map(|r| std::slice::from_raw_parts(start.add(r.start), r.len())),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> Memory {
        let lifetime = |len, first, last| Lifetime { len, first, last };
        Memory::new(&[lifetime(20, 0, 1), lifetime(30, 1, 2), lifetime(10, 2, 3)]).expect("a few bytes")
    }

    #[test]
    fn parts_are_the_values_themselves() {
        let mut memory = memory();
        memory.write(0).fill(1.0);
        let ([y], [x, nothing]) = memory.parts([Some(1)], [Some(0), None]);
        y[..20].copy_from_slice(x);
        assert!(nothing.is_empty());
        assert_eq!(memory.read(1).iter().sum::<f32>(), 20.0);
    }

    #[test]
    #[should_panic(expected = "is in use by")]
    fn a_value_cannot_be_written_while_its_memory_is_read() {
        // The third value lives after the first and takes its place.
        memory().parts([Some(2)], [Some(0)]);
    }
}
