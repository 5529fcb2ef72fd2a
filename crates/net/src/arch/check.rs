//! Which tables are networks, and how large they may be.

use super::table::{Expansion, Operator, Part, Table};

/// Most rows of a table; the papers have at most 20.
pub(super) const MAX_ROWS: usize = 256;
/// Most blocks of a network; the papers have at most 17.
pub(super) const MAX_BLOCKS: usize = 256;
/// Most output channels of a row.
pub(super) const MAX_OUT: usize = 8192;
/// Most channels inside a bottleneck, at width 1.
pub(super) const MAX_EXPANSION: usize = 65536;
/// Largest kernel.
pub(super) const MAX_KERNEL: usize = 15;
/// Most rows of stride 2; the papers have 5.
pub(super) const MAX_STRIDES: usize = 10;
/// Largest size in the input column.
pub(super) const MAX_SIZE: usize = 32768;

impl Table {
    /// Refuses what is no network, naming the row.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=MAX_ROWS).contains(&self.rows.len()) {
            return Err(format!("{} rows; give 1 to {MAX_ROWS}", self.rows.len()));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("dropout is {}; give a number from 0 up to, not including, 1", self.dropout));
        }
        let mut map = None;
        let mut channels = 0;
        for (i, row) in self.rows.iter().enumerate() {
            let at = |reason: String| format!("row {}: {reason}", i + 1);
            self.check_order(i).map_err(at)?;
            self.check_row(i, channels).map_err(at)?;
            if let (Some(given), Some(found)) = (row.input, map)
                && given != found
            {
                return Err(at(format!("its input says {given:?} (size, channels), the rows before give {found:?}")));
            }
            map = row.input.or(map).map(|[size, c]| match row.operator {
                Operator::Pool => [1, c],
                Operator::Classifier => [size, c],
                _ => [size.div_ceil(row.stride), row.out],
            });
            if row.has_activation() {
                channels = row.out;
            }
        }
        let last = &self.rows[self.rows.len() - 1];
        if last.operator != Operator::Classifier {
            return Err(format!("the last row is {}; end with pool, classifier", last.operator.name()));
        }
        let strides = self.rows.iter().filter(|r| r.stride == 2).count();
        if strides > MAX_STRIDES {
            return Err(format!("{strides} rows have stride 2; at most {MAX_STRIDES} may"));
        }
        let blocks: usize = self.rows.iter().map(|r| r.repeat).sum();
        if blocks > MAX_BLOCKS {
            return Err(format!("{blocks} blocks with all repeats; at most {MAX_BLOCKS}"));
        }
        Ok(())
    }

    /// The order is: stem, blocks, perhaps a head, pool, perhaps a hidden layer, classifier.
    fn check_order(&self, i: usize) -> Result<(), String> {
        let operator = self.rows[i].operator;
        let before = i.checked_sub(1).map(|i| self.rows[i].operator);
        let spatial = [Operator::Convolution, Operator::Separable, Operator::Bottleneck];
        let (fits, rule) = match operator {
            _ if before.is_none() => (operator == Operator::Convolution, "a network starts with a conv, its stem"),
            Operator::Pool => {
                (before.is_some_and(|b| spatial.contains(&b)), "there is one pool, behind all convolutions")
            }
            Operator::Hidden => (before == Some(Operator::Pool), "there is one hidden layer, right behind the pool"),
            Operator::Classifier => (
                matches!(before, Some(Operator::Pool | Operator::Hidden)),
                "the classifier follows the pool or the hidden layer",
            ),
            _ => (before.is_some_and(|b| spatial.contains(&b)), "convolutions come before the pool"),
        };
        if fits { Ok(()) } else { Err(format!("a {} here; {rule}", operator.name())) }
    }

    fn check_row(&self, i: usize, channels: usize) -> Result<(), String> {
        let row = &self.rows[i];
        let within = |name: &str, value: usize, most: usize| match value {
            1.. if value <= most => Ok(()),
            _ => Err(format!("{name} is {value}; give 1 to {most}")),
        };
        if let Some([size, c]) = row.input {
            within("the input's size", size, MAX_SIZE)?;
            within("the input's channels", c, MAX_OUT)?;
        }
        if !row.has_activation() {
            return Ok(());
        }
        within("out", row.out, MAX_OUT)?;
        within("repeat", row.repeat, MAX_BLOCKS)?;
        within("kernel", row.kernel, MAX_KERNEL)?;
        if row.kernel.is_multiple_of(2) {
            return Err(format!(
                "kernel is {}; give an odd number, so that the output lies over the input",
                row.kernel
            ));
        }
        within("stride", row.stride, 2)?;
        if row.operator == Operator::Bottleneck {
            match row.expansion {
                Expansion::Factor(t) => within("factor", t, MAX_EXPANSION)?,
                Expansion::Channels(c) => within("expansion", c, MAX_EXPANSION)?,
            }
            let widest = if row.repeat > 1 { channels.max(row.out) } else { channels };
            within("the expansion", row.expansion.channels(widest), MAX_EXPANSION)?;
        }
        if row.repeat != 1 && self.part(i) != Part::Block {
            return Err("only blocks repeat; stem, head and hidden layer are single".into());
        }
        Ok(())
    }
}
